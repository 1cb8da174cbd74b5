"""Whether a text says the right answer: numbers, mathematics, labels, words.

May import `io`.
"""
