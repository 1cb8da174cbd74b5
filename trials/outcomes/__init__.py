"""What came of a trial: its result, made of its events; early signals, failures, provenance.

May import `io` and `spec`.
"""
