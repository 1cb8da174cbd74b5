"""Datasets, models and spaces by name, looked up and described before trials run.

May import `config` and `output`.
"""
