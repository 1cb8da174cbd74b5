"""The contract of a trial: its spec, hyperparameters, events and result.

May import `io`.
"""
