"""Observers of a run: the terminal, Prefect's log and pages, notifications.

May import `sync`, `output`, `runs` and `execution`.
"""
