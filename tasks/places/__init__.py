"""Where trials run: in this process's supervisor, on a Dask cluster, or on Prefect workers."""
