"""The steps that flows chain: retries, caching, artifacts and I/O, no mathematics."""

from tasks.config.process import ensure_home, switch_off_telemetry
from tasks.output.log_filters import filter_prefect_logs

# Here, because libraries look when they are imported, and workers start flows without the command.
switch_off_telemetry()
ensure_home()
filter_prefect_logs()
