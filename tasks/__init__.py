"""The steps that flows chain: retries, caching, artifacts and I/O, no mathematics."""
