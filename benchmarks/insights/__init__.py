"""A study of the history: what it says of hyperparameters, of small models as proxies, of noise.

May import every package; none imports it.
"""
