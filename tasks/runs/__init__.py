"""The run folder: everything that is known of a run, and what is read off it.

May import `config` and `history`.
"""
