"""Prefect for a command: environment, server, access control, and the reports beside it.

May import `terminal`.
"""
