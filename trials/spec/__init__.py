"""What a trial is told and what it answers: spec, hyperparameters, events, result.

May import `io`.
"""
