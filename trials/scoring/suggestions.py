"""Which reward and marker the rows' own completions would earn: what to offer when none fits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Pair:
    completion: str
    answers: tuple[str, ...]


def suggest_settings(dataset: Dataset) -> list[str]:
    """Settings of ``dataset.yaml``, or changes of the rows, with which the completions score.

    The least change comes first; each says on how many of the rows that were tried it is right.
    """
    rows = [row for rows in dataset.splits.values() for row in rows if row.completion][:MAX_ROWS]
    pairs = [_Pair(str(row.completion[-1].get("content") or ""), row.answers) for row in rows]
    if not pairs:
        return []
    return [*_indices(pairs), *_settings(dataset, pairs)][:MAX_SUGGESTIONS]


def _settings(dataset: Dataset, pairs: Sequence[_Pair]) -> Iterator[str]:
    own = dataset.card.answer_marker
    for marker in dict.fromkeys((own, *MARKERS)):
        if marker != own and not any(has_marker(pair.completion, marker) for pair in pairs):
            continue
        right_answers = [tuple(final_answer(a, marker) for a in pair.answers) for pair in pairs]
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
                reader.score(pair.completion, answers) if all(answers) else 0.0
                for pair, answers in zip(pairs, right_answers, strict=True)
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
    for pair in pairs:
        said, answer = letters.read(pair.completion).upper(), pair.answers[0].strip()
        if said in LETTERS and answer.isdecimal() and len(answer) < 3:
            shifts.append(LETTERS.index(said) - int(answer))
    for first in (0, 1):
        if shifts.count(-first) >= MIN_SCORED_SHARE * len(pairs):
            example = next(pair.answers[0] for pair in pairs if pair.answers[0].strip().isdecimal())
            letter = LETTERS[int(example) - first]
            yield (
                f"letters as answers, for they are places of options, counted from {first}: "
                f'write "answer": "{letter}" for {example}, with `reward: choice`'
            )
