"""Foundations that all models share: records, errors, metrics.

Imports no other package of `surrogates`.
"""
