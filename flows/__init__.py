"""The jobs, one Prefect flow per file; the `autopipe` command is the package `cli`."""
