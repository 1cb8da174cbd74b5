"""Prefect for a command: environment, server, who may talk to it, and the reports beside it.

May import `terminal`.
"""
