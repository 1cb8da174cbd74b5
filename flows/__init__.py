"""The jobs that Prefect deploys, one flow per file, and the `autopipe` command."""
