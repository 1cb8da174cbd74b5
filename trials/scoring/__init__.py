"""Scoring: what a completion says, read as people read it, compared with the right answer."""
