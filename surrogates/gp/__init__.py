"""The Gaussian process over one task's scores, and the acquisition function.

Imports no other package of `surrogates`.
"""
