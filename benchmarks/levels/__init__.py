"""Three sizes of one model replayed: is a search of the largest better for trials on the others?

May import every package of AutoPipe, and `benchmarks.replay`; nothing imports it.
"""
