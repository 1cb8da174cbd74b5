"""What single choices of a configuration are worth: trials that differ in them alone.

    python -m benchmarks.choices run     # trains what has no result yet; hours
    python -m benchmarks.choices show    # gains over the usual choice, paired

May import `surrogates`, `tasks` and `trials`.
"""
