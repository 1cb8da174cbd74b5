"""The steps that flows chain: retries, caching, artifacts and I/O, no mathematics."""

from tasks.config.home import settle_in
from tasks.config.telemetry import switch_off
from tasks.inputs.plain_errors import plain_errors

# Here, because libraries look when they are imported, and workers start flows without the command.
switch_off()
settle_in()
plain_errors()
