"""Readers that find the answer in a text: numbers, mathematics, labels, words.

May import `io`.
"""
