"""The training texts of the tiny models and their tokenizer.

- *basics*: copying, letters, counting, comparing, ordering and one-digit arithmetic, in varied
  phrasing. They come first and alone: a model learns to look back at its prompt only where looking
  back pays.
- *skills*: what the catalog's datasets ask for, in other words (`skills.py`).
- *forms*: questions of the catalog's datasets (from another seed than the built datasets), with
  answers shuffled among the questions of one dataset. Only the tokenizer sees them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.tiny_models.skills import LETTERS, WEEKDAYS, Example, skills

# Added to an entry's seed: far beyond the rows any built dataset can reach.
SEED_OFFSET = 500_000_000
FORMS_PER_DATASET = 1500
_WORDS = """
sun moon star tree river stone bird fish apple house green blue red black white table chair window
door garden paper music water light night morning summer winter horse sheep goat tiger bread milk
salt sugar north south east west happy quiet small large round early late first last
"""
_NAMES = "Anna Ben Clara David Emma Frank Grace Henry Ivy Jack Kate Leo Mia Noah Olga Paul"
WORDS, NAMES = _WORDS.split(), _NAMES.split()


def _word(rng: random.Random) -> str:
    """A known word, or letters that no word list has: copying must not depend on knowing a word."""
    if rng.random() < 0.5:
        return rng.choice(WORDS)
    letters = "".join(rng.choices(LETTERS, k=rng.randint(2, 6)))
    return letters.capitalize() if rng.random() < 0.3 else letters


def _copying(rng: random.Random) -> Example:
    kind, length = rng.randrange(4), rng.randint(1, 6)
    if kind == 0:
        text = " ".join(_word(rng) for _ in range(length))
    elif kind == 1:
        text = str(rng.randrange(10**length))
    elif kind == 2:
        text = "".join(rng.choices(LETTERS, k=2 * length))
    else:
        text = ", ".join(str(rng.randrange(100)) for _ in range(length))
    asks = ["Repeat: {}", "Copy this text: {}", "Say {}", "Write {} again.", "Echo the word {}."]
    return rng.choice(asks).format(text), text


def _swapping(rng: random.Random) -> Example:
    if rng.random() < 0.5:
        first, second = _word(rng), _word(rng)
    else:
        first, second = str(rng.randrange(100)), str(rng.randrange(100))
    asks = ["Swap: {}, {}", "Exchange {}, {}", "Write the second before the first: {}, {}"]
    return rng.choice(asks).format(first, second), f"{second}, {first}"


def _arithmetic(rng: random.Random) -> Example:
    a, b = rng.randrange(10), rng.randrange(10)
    if rng.random() < 0.5:
        asks = ["{} + {} =", "What is {} + {}?", "Add {} and {}.", "{} plus {}", "Compute {} + {}"]
        return rng.choice(asks).format(a, b), str(a + b)
    asks = ["{} - {} =", "What is {} - {}?", "{} minus {}", "Compute {} - {}"]
    return rng.choice(asks).format(a, b), str(a - b)


def _comparing(rng: random.Random) -> Example:
    a, b = rng.sample(range(10 ** rng.randint(1, 3)), 2)
    word, answer = rng.choice((("larger", max(a, b)), ("smaller", min(a, b))))
    asks = ["Which is {}: {} or {}?", "Pick the {} number: {}, {}", "The {} of {} and {} is"]
    return rng.choice(asks).format(word, a, b), str(answer)


def _alphabet(rng: random.Random) -> Example:
    index = rng.randrange(1, 25)
    if rng.random() < 0.5:
        asks = ["Which letter comes after {}?", "The letter after {} is", "What follows {}?"]
        return rng.choice(asks).format(LETTERS[index]), LETTERS[index + 1]
    asks = ["Which letter comes before {}?", "The letter before {} is"]
    return rng.choice(asks).format(LETTERS[index]), LETTERS[index - 1]


def _spelling(rng: random.Random) -> Example:
    word = rng.choice(WORDS) if rng.random() < 0.5 else "".join(rng.choices(LETTERS, k=4))
    if rng.random() < 0.5:
        return rng.choice(("Spell {}.", "Spell the word {} letter by letter.")).format(word), (
            " ".join(word)
        )
    letter, answer = rng.choice((("first", word[0]), ("last", word[-1])))
    asks = ["What is the {} letter of {}?", "Give the {} letter: {}"]
    return rng.choice(asks).format(letter, word), answer


def _counting(rng: random.Random) -> Example:
    if rng.random() < 0.5:
        items = rng.sample(WORDS, rng.randint(1, 6))
        asks = ["How many words are here: {}", "Count the words: {}"]
        return rng.choice(asks).format(" ".join(items)), str(len(items))
    letter = rng.choice(LETTERS)
    text = "".join(rng.choices(letter + rng.choice(LETTERS), k=rng.randint(2, 6)))
    asks = ['How many "{}" are in {}?', "Count the letter {} in {}"]
    return rng.choice(asks).format(letter, text), str(text.count(letter))


def _elements(rng: random.Random) -> Example:
    words = rng.random() < 0.5
    items = [_word(rng) if words else str(rng.randrange(100)) for _ in range(rng.randint(2, 4))]
    place, index = rng.choice((("first", 0), ("last", -1), ("second", 1)))
    asks = ["What is the {} item of this list: {}", "Give the {} of: {}", "The {} of {} is"]
    return rng.choice(asks).format(place, ", ".join(items)), items[index]


def _sorting(rng: random.Random) -> Example:
    numbers = rng.sample(range(rng.choice((10, 100))), rng.randint(2, 3))
    down = rng.random() < 0.5
    order = "descending" if down else "ascending"
    asks = ["Sort in {} order: {}", "Put these numbers in {} order: {}"]
    question = rng.choice(asks).format(order, ", ".join(map(str, numbers)))
    return question, ", ".join(map(str, sorted(numbers, reverse=down)))


def _yes_no(rng: random.Random) -> Example:
    yes, no = rng.choice((("Yes", "No"), ("True", "False")))
    kind = rng.randrange(3)
    if kind == 0:
        a, b = rng.sample(range(100), 2)
        question, holds = f"Is {a} larger than {b}?", a > b
    elif kind == 1:
        a = rng.randrange(100)
        question, holds = f"Is {a} even?", a % 2 == 0
    else:
        word = rng.choice(WORDS)
        letter = rng.choice((rng.choice(LETTERS), rng.choice(word)))
        question, holds = f"Does {word} contain the letter {letter}?", letter in word
    return f"{question} Answer {yes} or {no}.", yes if holds else no


def _people(rng: random.Random) -> Example:
    names, objects = rng.sample(NAMES, 2), [_word(rng), _word(rng)]
    verb = rng.choice(("likes", "has", "sees", "wants"))
    asked = rng.randrange(2)
    facts = " ".join(f"{n} {verb} {t}." for n, t in zip(names, objects, strict=True))
    if rng.random() < 0.5:
        return f"{facts} Who {verb} {objects[asked]}?", names[asked]
    return f"{facts} What is named with {names[asked]}?", objects[asked]


def _days(rng: random.Random) -> Example:
    day = rng.randrange(7)
    word, step = rng.choice((("after", 1), ("before", -1)))
    asks = ["Which day comes {} {}?", "The day {} {} is"]
    return rng.choice(asks).format(word, WEEKDAYS[day]), WEEKDAYS[(day + step) % 7]


BASICS: tuple[Callable[[random.Random], Example], ...] = (
    *(_copying,) * 4,
    *(_arithmetic,) * 3,
    *(_swapping, _comparing, _alphabet, _spelling, _counting, _elements, _elements),
    *(_sorting, _yes_no, _people, _days),
)


def basics(count: int, seed: int) -> list[Example]:
    """`count` questions of the small skills, each with its right answer."""
    rng = random.Random(seed)
    return [rng.choice(BASICS)(rng) for _ in range(count)]


def forms(catalog: str | Path, seed: int, per_dataset: int = FORMS_PER_DATASET) -> list[Example]:
    """Questions of every dataset of the catalog file, each with some other question's answer."""
    import reasoning_gym

    entries: dict[str, Any] = yaml.safe_load(Path(catalog).read_text(encoding="utf-8"))["datasets"]
    examples: list[Example] = []
    for name, entry in entries.items():
        source = reasoning_gym.create_dataset(
            entry["dataset"],
            size=per_dataset,
            seed=entry["seed"] + SEED_OFFSET + seed * per_dataset,
            **entry["params"],
        )
        rows = [source[index] for index in range(per_dataset)]
        answers = [row["answer"] for row in rows]
        random.Random(f"{name}-{seed}").shuffle(answers)
        questions = (row["question"].strip() for row in rows)
        examples += zip(questions, answers, strict=True)
    return examples


def curriculum(first: int, mixed: int, seed: int) -> list[Example]:
    """`first` basics, then `mixed` examples of which a quarter are basics, the others skills."""
    rng = random.Random(seed)
    last = basics(mixed // 4, seed + 1) + skills(mixed - mixed // 4, seed)
    rng.shuffle(last)
    return basics(first, seed) + last


def tokenizer_texts(catalog: str | Path, examples: int, seed: int) -> list[str]:
    """Questions and answers: basics and forms, half of each.

    The forms are drawn with repetition from `FORMS_PER_DATASET` questions of each dataset.
    """
    rng = random.Random(seed)
    chats = basics(examples // 2, seed + 1)
    chats += rng.choices(forms(catalog, seed), k=examples - examples // 2)
    rng.shuffle(chats)
    return [text for chat in chats for text in chat]
