"""The steps that flows chain: retries, caching, artifacts and I/O, no mathematics."""

from tasks.home import settle_in
from tasks.plain_errors import plain_errors
from tasks.telemetry import switch_off

# Here, because libraries look when they are imported, and workers start flows without the command.
switch_off()
settle_in()
plain_errors()
