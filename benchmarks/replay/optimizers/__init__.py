"""The optimizers that are compared: AutoPipe's own search, SMAC3 and Syne Tune.

May import `benchmarks.replay.loop` and `benchmarks.replay.tables`; a peer's package is imported
only by the file that is about it.
"""
