"""Datasets, models and spaces by name, resolved and described before trials run.

May import `config`.
"""
