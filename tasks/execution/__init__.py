"""Execution backends: trials on this machine, on Prefect's workers or on Dask.

May import `config`, `sync` and `runs`.
"""
