"""Suggestions of a reward and marker that the rows' own completions would earn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from trials.data.dataset import Dataset
from trials.matching.choices import Choice
from trials.matching.exact import ExactMatch
from trials.matching.numeric import Numeric, parse_number
from trials.matching.text import final_answer, has_marker

MARKERS = ("Answer:", "####", "The answer is", "<answer>", "</think>", "\\boxed", "=")
MIN_SCORED_SHARE = 0.9  # of the rows that a reward must score to be offered
MAX_ROWS = 200  # looked at
MAX_SUGGESTIONS = 3  # offers
MOST_CHOICES = 50
LETTERS = tuple("ABCDEFGHIJ")


_Pair = tuple[str, tuple[str, ...]]  # a completion, and the right answers


def suggest_settings(dataset: Dataset) -> list[str]:
    """Settings of ``dataset.yaml``, or changes of the rows, with which the completions score.

    The least change comes first; each says on how many of the rows that were tried it is right.
    """
    rows = [row for rows in dataset.splits.values() for row in rows if row.completion][:MAX_ROWS]
    pairs = [(row.completion_text, row.answers) for row in rows]
    if not pairs:
        return []
    return [*_indices(pairs), *_settings(dataset, pairs)][:MAX_SUGGESTIONS]


def _settings(dataset: Dataset, pairs: Sequence[_Pair]) -> Iterator[str]:
    own = dataset.card.answer_marker
    for marker in dict.fromkeys((own, *MARKERS)):
        if marker != own and not any(has_marker(completion, marker) for completion, _ in pairs):
            continue
        right_answers = [tuple(final_answer(a, marker) for a in answers) for _, answers in pairs]
        texts = sorted({answer for answers in right_answers for answer in answers})
        readers: dict[str, Numeric | Choice | ExactMatch] = {}
        if all(parse_number(text) is not None for text in texts):
            readers["numeric"] = Numeric(marker)
        if len(texts) <= MOST_CHOICES and all(len(text) <= 60 for text in texts):
            readers["choice"] = Choice(marker, tuple(texts))
        readers["exact_match"] = ExactMatch(marker)
        for kind, reader in readers.items():
            if (kind, marker) == (dataset.card.reward, own):
                continue
            scores = (
                reader.score(completion, answers) if all(answers) else 0.0
                for (completion, _), answers in zip(pairs, right_answers, strict=True)
            )
            right = sum(score > 0 for score in scores)
            if right >= MIN_SCORED_SHARE * len(pairs):
                named = f" and `answer_marker: {json.dumps(marker)}`" if marker != own else ""
                yield (
                    f"`reward: {kind}`{named} in dataset.yaml (right on {right:,} of "
                    f"{len(pairs):,} rows)"
                )
                break  # other kinds with the same marker say nothing new


def _indices(pairs: Sequence[_Pair]) -> Iterator[str]:
    """Answers that are places of options where completions name letters, or the reverse."""
    letters = Choice("Answer:", LETTERS)
    shifts = []
    indices = [answers[0].strip() for _, answers in pairs]
    for (completion, _), answer in zip(pairs, indices, strict=True):
        said = letters.read(completion).upper()
        if said in LETTERS and answer.isdecimal() and len(answer) < 3:
            shifts.append(LETTERS.index(said) - int(answer))
    for first in (0, 1):
        if shifts.count(-first) >= MIN_SCORED_SHARE * len(pairs):
            example = next(filter(str.isdecimal, indices))
            letter = LETTERS[int(example) - first]
            yield (
                f"letters as answers, for they are places of options, counted from {first}: "
                f'write "answer": "{letter}" for {example}, with `reward: choice`'
            )
