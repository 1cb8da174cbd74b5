"""The steps that flows chain: retries, caching, artifacts and I/O, no mathematics."""

from tasks.config.home import settle_in
from tasks.config.telemetry import switch_off
from tasks.output.log_filters import filter_prefect_logs

# Here, because libraries look when they are imported, and workers start flows without the command.
switch_off()
settle_in()
filter_prefect_logs()
