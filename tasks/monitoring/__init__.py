"""Who is told what happens in a run: the terminal, Prefect's log and pages, people.

May import `sync`, `output`, `runs` and `execution`.
"""
