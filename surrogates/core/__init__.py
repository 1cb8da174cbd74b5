"""The ground that all models share: records, errors, kernels, metrics.

Imports no other package of `surrogates`.
"""
