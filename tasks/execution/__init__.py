"""Where trials are run: this machine, Prefect's workers, Dask.

May import `config`, `sync` and `runs`.
"""
