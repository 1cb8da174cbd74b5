"""Scores on rows: of a trial as it trains, of the base model, of the finalists.

May import `io`, `spec`, `outcomes`, `data`, `scoring` and `models`.
"""
