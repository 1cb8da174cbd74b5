"""The bundled history replayed: each dataset left out in turn, every strategy on the same trials.

May import every package of AutoPipe, and `benchmarks.pictures`; nothing imports it.
"""
