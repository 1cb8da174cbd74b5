"""Skills beneath the catalog's datasets, asked in other words: what the tiny models bring along.

A base model of any size knows much of what post-training asks of it, in other phrasings and with
other habits of answering. Here the tiny models get the like: what a fine-tuning of a minute can
bring out, and a bad one can spoil. The phrasings of the datasets themselves are never among them.
"""

from __future__ import annotations

import calendar
import math
import random
from collections.abc import Callable

Example = tuple[str, str]
"""A question and its answer."""

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WEEKDAYS = tuple(calendar.day_name)
MONTHS = tuple(calendar.month_name)[1:]
LEGS = {
    "human": 2, "bird": 2, "duck": 2, "cat": 4, "dog": 4, "horse": 4, "cow": 4, "sheep": 4,
    "lion": 4, "elephant": 4, "bee": 6, "ant": 6, "wasp": 6, "beetle": 6, "spider": 8,
    "scorpion": 8, "crab": 10, "shrimp": 10, "lobster": 10, "woodlouse": 14, "snail": 0,
}  # fmt: skip


def _ask(rng: random.Random, *phrasings: str, answer: object, **parts: object) -> Example:
    return rng.choice(phrasings).format(**parts), str(answer)


def _sum(rng: random.Random) -> Example:
    top = rng.choice((10, 100))
    a, b = rng.randrange(top), rng.randrange(top)
    if rng.random() < 0.5:
        return _ask(rng, "Sum of {a} and {b}", "{a} plus {b} makes", a=a, b=b, answer=a + b)
    return _ask(rng, "Take {b} from {a}", "{a} minus {b} leaves", a=a, b=b, answer=a - b)


def _chain(rng: random.Random) -> Example:
    terms = [rng.choice((-1, 1)) * rng.randrange(10) for _ in range(rng.randint(3, 5))]
    terms[0] = abs(terms[0])
    text = str(terms[0]) + "".join(f" {'-' if t < 0 else '+'} {abs(t)}" for t in terms[1:])
    return _ask(rng, "Work out {t}", "{t} comes to", t=text, answer=sum(terms))


def _product(rng: random.Random) -> Example:
    a, b = rng.randrange(10), rng.randrange(rng.choice((10, 10, 100)))
    if rng.random() < 0.3:
        a, b = -a if rng.random() < 0.5 else a, -b
    return _ask(rng, "{a} times {b}", "Product of {a} and {b}", a=a, b=b, answer=a * b)


def _divisor(rng: random.Random) -> Example:
    factor = rng.randrange(1, 16)
    a, b = (factor * rng.randrange(1, max(2, 60 // factor + 1)) for _ in range(2))
    asks = ("Which is the largest number that divides {a} and {b}?", "gcd({a},{b})")
    return _ask(rng, *asks, a=a, b=b, answer=math.gcd(a, b))


def _multiple(rng: random.Random) -> Example:
    a, b = rng.randrange(1, 41), rng.randrange(1, 41)
    asks = ("The smallest number that {a} and {b} both divide", "lcm({a},{b})")
    return _ask(rng, *asks, a=a, b=b, answer=math.lcm(a, b))


def _fraction(rng: random.Random) -> Example:
    factor, a, b = rng.randrange(2, 10), rng.randrange(1, 12), rng.randrange(1, 20)
    shared = math.gcd(a, b)
    asks = ("Reduce {a} over {b}", "Cancel {a}/{b}")
    return _ask(rng, *asks, a=a * factor, b=b * factor, answer=f"{a // shared}/{b // shared}")


def _binary(rng: random.Random) -> Example:
    n = rng.randrange(rng.choice((64, 4096)))
    if n < 64 and rng.random() < 0.6:
        return _ask(rng, "{n} in binary", "Write {n} with zeros and ones", n=n, answer=f"{n:b}")
    return _ask(rng, "Ones among the binary digits of {n}", n=n, answer=n.bit_count())


def _sequence(rng: random.Random) -> Example:
    start, step, terms = rng.randrange(1, 12), rng.randrange(1, 12), rng.randint(3, 5)
    if rng.random() < 0.5:
        values = [start + step * i for i in range(terms + 1)]
    else:
        values = [start * 2**i for i in range(terms + 1)]
    shown = " ".join(map(str, values[:-1]))
    return _ask(rng, "Continue: {s}", "What follows {s}?", s=shown, answer=values[-1])


def _unknown(rng: random.Random) -> Example:
    x, a, b = rng.randrange(-5, 11), rng.randrange(1, 10), rng.randrange(10)
    asks = ("{a} times what, plus {b}, gives {c}?", "Which number, times {a} plus {b}, is {c}?")
    return _ask(rng, *asks, a=a, b=b, c=a * x + b, answer=x)


def _decimals(rng: random.Random) -> Example:
    a, b = rng.randrange(1, 100), rng.randrange(1, 100)
    return _ask(rng, "{a} plus {b}", "Sum of {a} and {b}", a=a / 10, b=b / 10, answer=(a + b) / 10)


def _scientific(rng: random.Random) -> Example:
    a, b = (rng.randrange(1_000_000, 10_000_000) / 1000 for _ in range(2))
    if rng.random() < 0.5:
        return _ask(rng, "Write in full: {a:.6e}", a=a, answer=f"{a:.3f}".rstrip("0"))
    word, answer = rng.choice((("greater", max(a, b)), ("lesser", min(a, b))))
    return _ask(rng, "The {w} of {a} and {b}", w=word, a=a, b=b, answer=answer)


def _letters(rng: random.Random) -> Example:
    words = ["".join(rng.choices("aeioulnrst", k=rng.randint(1, 5))) for _ in range(3)]
    text, letter = " ".join(words), rng.choice("aeioulnrst")
    asks = ("{c} in {t}: how often?", "Number of letters {c} in {t}")
    return _ask(rng, *asks, c=letter, t=text, answer=text.count(letter))


def _legs(rng: random.Random) -> Example:
    kinds = rng.sample(sorted(LEGS), rng.randint(1, 2))
    counts = [rng.randint(1, 5) for _ in kinds]
    group = " and ".join(f"{n} {kind}" for n, kind in zip(counts, kinds, strict=True))
    total = sum(n * LEGS[kind] for n, kind in zip(counts, kinds, strict=True))
    return _ask(rng, "{g}: legs together", "Legs of {g}", g=group, answer=total)


def _mirror(rng: random.Random) -> Example:
    word = "".join(rng.choices(LETTERS, k=rng.randint(2, 5)))
    if rng.random() < 0.3:
        word = word.capitalize()
    return _ask(rng, "Mirror {w}", "Read {w} from right to left", w=word, answer=word[::-1])


def _last_first(rng: random.Random) -> Example:
    words = ["".join(rng.choices(LETTERS, k=rng.randint(1, 6))) for _ in range(rng.randint(2, 3))]
    shown, turned = ", ".join(words), ", ".join(reversed(words))
    return _ask(rng, "Last one first: {w}", "In the opposite order: {w}", w=shown, answer=turned)


def _filter(rng: random.Random) -> Example:
    numbers = [rng.randrange(21) for _ in range(rng.randint(2, 3))]
    bound = rng.randrange(21)
    above = rng.random() < 0.5
    kept = [str(n) for n in numbers if (n > bound if above else n < bound)]
    asks = ("Which of {n} are {w} {b}?", "From {n} take those {w} {b}")
    word = "above" if above else "below"
    shown = ", ".join(map(str, numbers))
    return _ask(rng, *asks, n=shown, w=word, b=bound, answer=", ".join(kept) or "none")


def _turn(rng: random.Random) -> Example:
    a, b, c, d = (rng.randrange(10) for _ in range(4))
    turns = {"a quarter": (c, a, d, b), "half": (d, c, b, a), "three quarters": (b, d, a, c)}
    how = rng.choice(sorted(turns))
    e, f, g, h = turns[how]
    return _ask(
        rng, "Turn by {w}:\n{a} {b}\n{c} {d}", w=how, a=a, b=b, c=c, d=d, answer=f"{e} {f}\n{g} {h}"
    )


def _weekday(rng: random.Random) -> Example:
    day, days = rng.randrange(7), rng.randrange(8)
    if rng.random() < 0.5:
        answer, asks = WEEKDAYS[(day + days) % 7], ("{n} days after {d}", "{d} and {n} days more")
    else:
        answer, asks = WEEKDAYS[(day - days) % 7], ("{n} days before {d}", "{d}, {n} days earlier")
    return _ask(rng, *asks, n=days, d=WEEKDAYS[day], answer=answer)


def _clock(rng: random.Random) -> Example:
    start, minutes = rng.randrange(23 * 60), rng.randrange(60)
    end = start + minutes
    a, b = (f"{t // 60:02d}:{t % 60:02d}" for t in (start, end))
    if rng.random() < 0.5:
        return _ask(rng, "Minutes between {a} and {b}", a=a, b=b, answer=minutes)
    return _ask(rng, "{a} until {b}", a=a, b=b, answer=f"00:{minutes:02d}")


def _dates(rng: random.Random) -> Example:
    month, first = rng.choice(MONTHS), rng.randrange(1, 22)
    days = rng.randrange(11)
    return _ask(
        rng, "{m} {a} until {m} {b}", "From {m} {a} to {m} {b}",
        m=month, a=first, b=min(28, first + days), answer=f"{min(28, first + days) - first} days",
    )  # fmt: skip


def _leap(rng: random.Random) -> Example:
    year = rng.randrange(1, 4000)
    answer = "Yes" if calendar.isleap(year) else "No"
    asks = ("Has {y} a February 29?", "Did February of {y} have 29 days?")
    return _ask(rng, *asks, y=year, answer=answer)


def _contained(rng: random.Random) -> Example:
    source = "".join(rng.choices(LETTERS, k=rng.randint(2, 6)))
    wanted = "".join(rng.choices(source if rng.random() < 0.6 else LETTERS, k=rng.randint(1, 2)))
    can = all(source.count(c) >= wanted.count(c) for c in wanted)
    asks = ("Do the letters {a} lie in {b}?", "{b}: can you take {a} out of it?")
    return _ask(rng, *asks, a=wanted, b=source, answer=can)


# As often as they take to learn, and as datasets ask for them.
SKILLS: tuple[Callable[[random.Random], Example], ...] = (
    *(_sum,) * 3,
    *(_chain, _product, _divisor, _unknown, _decimals, _letters, _legs, _last_first) * 2,
    *(_filter, _weekday, _clock, _dates, _contained) * 2,
    *(_multiple, _fraction, _binary, _sequence, _scientific, _mirror, _turn, _leap),
)


def skills(count: int, seed: int) -> list[Example]:
    """`count` questions of the skills, each with its right answer."""
    rng = random.Random(seed)
    return [rng.choice(SKILLS)(rng) for _ in range(count)]
