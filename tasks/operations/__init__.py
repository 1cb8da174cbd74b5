"""For those who run AutoPipe every week: health checks, deployments, what changed.

May import `config`, `inputs`, `history` and `execution`.
"""
