"""Regular operation: health checks, deployments, changes since the last run.

May import `config`, `inputs`, `history` and `execution`.
"""
