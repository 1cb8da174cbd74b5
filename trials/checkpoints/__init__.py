"""Checkpoints: how they are written, when they are trusted, where a trial resumes.

May import `io` and `spec`.
"""
