"""The Gaussian process over one task's scores, and the acquisition function.

May import `core`.
"""
