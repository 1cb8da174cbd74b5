"""Whether the rows' own completions earn the reward: where they do not, no model ever will.

    python -m trials.scoring.own_completions DATASET [--allow-user-code]

Scored before any compute is spent, on every split. A reward that is somebody's code is called in a
process of its own, which is ended when it takes too long.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO, Any

from trials.data.card import CARD, card_instructions, unread_card
from trials.data.dataset import Dataset, Preference, Row, load_dataset
from trials.data.messages import Message
from trials.data.reward_kinds import is_user_code
from trials.data.row_fields import marker_setting
from trials.io.errors import AutoPipeError, RewardError
from trials.io.imports import child_environment
from trials.matching.text import KNOWN_MARKERS, final_answer, has_marker
from trials.matching.turns import find_turn
from trials.scoring.rewards import Reward, answer_reader, build_reward
from trials.scoring.suggestions import suggest_settings

MAX_ROWS = 3_000  # of a split; a sample of this size beyond
TIME_LIMIT_SECONDS = 60.0  # for all splits together
# Scorers of reasoning_gym give a little to any text, which is nothing to learn from.
NEGLIGIBLE_REWARD = 0.1
SHOWN_CHARACTERS = 200  # characters of a completion


@dataclass(frozen=True)
class SplitCheck:
    """What the completions of a split earn.

    Attributes:
        rows: with a completion, in all.
        scored: of them.
        nothing: of those scored, how many earn nothing.
        example: the first of these in words; empty without one.
    """

    split: str
    rows: int
    scored: int
    nothing: int
    example: str = ""


def check_own_completions(dataset: Dataset, allow_user_code: bool = False) -> list[str]:
    """Scores the completions of all splits of a dataset with its own reward.

    Returns:
        Sentences to be said to people: of how many rows earn nothing, what was not looked at.

    Raises:
        RewardError: when most completions of a split earn nothing, with an example and what would
            fit; when the reward cannot be built or takes too long.
    """
    key = (str(dataset.path), dataset.fingerprint, allow_user_code)
    if key not in _found:
        _found.clear()  # the one dataset that a run is about is asked for again and again
        try:
            _found[key] = _with_card_explained(dataset, _looked_at(dataset, allow_user_code))
        except RewardError as error:
            text = "\n  ".join(_with_card_explained(dataset, [str(error)]))
            raise type(error)(text) from None
    return list(_found[key])


_found: dict[tuple[str, str, bool], list[str]] = {}


def _with_card_explained(dataset: Dataset, said: list[str]) -> list[str]:
    """What is said, and where it asks a single file for a card, how that is given one."""
    explained = [text + card_instructions(dataset.path) * (CARD in text) for text in said]
    if (card := unread_card(dataset.path)) and not any(CARD in text for text in said):
        explained.append(f"{card} was not read" + card_instructions(dataset.path))
    return explained


def _looked_at(dataset: Dataset, allow_user_code: bool) -> list[str]:
    kind, args = str(dataset.card.reward), dataset.card.reward_args
    of_others = is_user_code(kind) or (kind == "reasoning_gym" and allow_user_code)
    if of_others:
        build_reward(dataset, allow_user_code)  # what is wrong with it is best said from here
        checks = _in_own_process(dataset, allow_user_code)
    else:
        checks = score_splits(dataset, build_reward(dataset, allow_user_code))
    inferred = ", which was inferred from the answers" * dataset.reward_inferred
    named = f"the reward {kind!r}{inferred}" + (
        f" with {args}" if args and len(str(args)) < 80 else ""
    )
    failed = [check for check in checks if check.nothing * 2 > check.scored]
    if failed:
        counts = ", ".join(
            f"{each.nothing:,} of {each.scored:,} in {each.split}" for each in failed
        )
        fits = "".join(f"\n    - {each}" for each in suggest_settings(dataset))
        raise RewardError(
            f"{dataset.path}: most of the rows' own completions earn nothing from {named}: {counts}"
            f"\n{failed[0].example}\n  expected: completions that their answers make right"
            + (
                f"; this would fit:{fits}"
                if fits
                else "; mend the rows, or set `reward` or "
                "`answer_marker` in dataset.yaml (docs/datasets.md)"
            )
        )
    return [*_said(checks, named), *_whole_solutions(dataset), *_turns_as_text(dataset)]


def _said(checks: Sequence[SplitCheck], named: str) -> list[str]:
    """What people should know of completions that most earn the reward."""
    said = []
    some = [check for check in checks if check.nothing]
    if some:
        counts = ", ".join(f"{each.nothing:,} of {each.scored:,} in {each.split}" for each in some)
        said.append(
            f"Some of the rows' own completions earn nothing from {named}: {counts}"
            f"\n{some[0].example}"
        )
    if partly := [each for each in checks if each.scored < each.rows]:
        counts = ", ".join(f"{each.scored:,} of {each.rows:,} in {each.split}" for each in partly)
        said.append(f"The reward was checked on a part of the rows' own completions: {counts}")
    if not any(check.rows for check in checks):
        said.append("No row has a completion, so the reward was not checked on any")
    return said


def _whole_solutions(dataset: Dataset) -> list[str]:
    """A warning when what stands in ``answer`` is a solution with an answer at its end."""
    card, rows = dataset.card, _sample(dataset.splits.get("train", []), 100)
    if card.reward not in ("exact_match", "choice") or not rows:
        return []
    for marker in KNOWN_MARKERS:
        with_it = sum(has_marker(row.answer, marker) for row in rows)
        if marker.lower() != card.answer_marker.lower() and with_it > 0.9 * len(rows):
            return [
                f"The answers hold {marker!r}, as whole solutions do, so only a completion that "
                f"repeats all of an answer is right: set {marker_setting(marker)}"
            ]
    return []


def _turns_as_text(dataset: Dataset) -> list[str]:
    """A warning when texts of completions hold turns of a chat, as transcripts do."""
    rows = [row for each in dataset.splits.values() for row in _sample(each, MAX_ROWS)]
    said: list[tuple[Row | Preference, Message]] = [
        (row, message) for row in rows for message in row.completion
    ]
    pairs = dataset.preferences[:MAX_ROWS]
    said += [(pair, message) for pair in pairs for message in (*pair.chosen, *pair.rejected)]
    found = [
        (row, turn)
        for row, message in said
        if (turn := find_turn(str(message.get("content") or "")))
    ]
    if not found:
        return []
    row, turn = found[0]
    return [
        f"{len(found):,} of {len(said):,} texts that are to be trained hold turns of a chat, which "
        f"the model would learn to write itself: {turn!r} in {row.file}:{row.line}. If they are "
        "not meant, write the chat as messages (docs/datasets.md) and leave its tokens out"
    ]


def score_splits(
    dataset: Dataset, reward: Reward, report: IO[str] | None = None
) -> list[SplitCheck]:
    """Scores the completions of every split, in the same order whenever it is done.

    Args:
        dataset: with its splits loaded.
        reward: of it.
        report: is told of each row before it is scored, a JSON text a line.

    Raises:
        RewardFailed: when the reward raises, or gives no number.
    """
    deadline = time.monotonic() + TIME_LIMIT_SECONDS
    checks = []
    for number, (split, rows) in enumerate(dataset.splits.items()):
        usable = [row for row in rows if _completion(row)]
        # Each split has an equal share of the time that is left.
        until = time.monotonic() + (deadline - time.monotonic()) / (len(dataset.splits) - number)
        scored, bad = 0, []
        for row in _sample(usable, MAX_ROWS):
            if scored and time.monotonic() > until:
                break
            if report:
                print(json.dumps({"at": f"{row.file}:{row.line}"}), file=report, flush=True)
            value = reward(_completion(row), row)
            scored += 1
            if value <= 0 or (dataset.card.reward == "reasoning_gym" and value < NEGLIGIBLE_REWARD):
                bad.append((row, value))
        example = _example(dataset, *bad[0]) if bad else ""
        checks.append(SplitCheck(split, len(usable), scored, len(bad), example))
    return checks


def _completion(row: Row) -> str:
    return str(row.completion[-1].get("content") or "") if row.completion else ""


def _sample(rows: Sequence[Row], size: int) -> list[Row]:
    """The same rows every time, in their order."""
    if len(rows) <= size:
        return list(rows)
    return [rows[index] for index in sorted(random.Random(0).sample(range(len(rows)), size))]


def _example(dataset: Dataset, row: Row, value: float) -> str:
    completion, card = _completion(row), dataset.card
    if card.reward in ("exact_match", "choice", "numeric"):
        read = answer_reader(dataset).read(completion)
    else:
        read = final_answer(completion, card.answer_marker)
    answers = " or ".join(repr(_short(answer)) for answer in row.answers[:3])
    shown = (
        completion
        if len(completion) <= SHOWN_CHARACTERS
        else "..." + completion[-SHOWN_CHARACTERS:]
    )
    return (
        f"  for example {row.file or 'a row'}:{row.line}\n    answer: {answers}\n"
        f"    completion: {shown!r}\n    taken as its answer: {_short(read)!r}\n"
        f"    reward: {value:g}"
    )


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


# A reward that is code, in a process of its own

# The child finds the same modules as this process, and none in the folder that it starts in.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from trials.scoring.own_completions import main; main(sys.argv[1:])"
)


def _in_own_process(dataset: Dataset, allow_user_code: bool) -> list[SplitCheck]:
    allowed = ["--allow-user-code"] * allow_user_code
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path), str(dataset.path), *allowed],
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        output, log = process.communicate(timeout=2 * TIME_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        _end_group(process)
        output, _ = process.communicate()
        at = _last(output, "at")
        raise RewardError(
            f"the reward {dataset.card.reward!r} did not return within "
            f"{2 * TIME_LIMIT_SECONDS:.0f} s, scoring the completion of {at or 'the first row'}\n"
            "  expected: a function that returns soon"
        ) from None
    if (refusal := _last(output, "refusal")) is not None:
        raise RewardError(refusal)
    if (found := _last(output, "checks")) is None:
        end = "\n".join(log.strip().splitlines()[-5:])
        raise RewardError(
            f"the reward {dataset.card.reward!r} ended the process that it ran in (exit code "
            f"{process.returncode}), scoring the completion of {_last(output, 'at')}\n{end}"
        )
    return [SplitCheck(**each) for each in found]


def _end_group(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _last(output: str, key: str) -> Any:
    found = None
    for line in output.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict) and key in told:
            found = told[key]
    return found


def main(arguments: Sequence[str]) -> None:
    """Prints what `score_splits` finds as one JSON text, or why the reward was refused."""
    report, sys.stdout = sys.stdout, sys.stderr  # what the reward prints is no answer
    try:
        dataset = load_dataset(arguments[0])
        reward = build_reward(dataset, "--allow-user-code" in arguments)
        checks = score_splits(dataset, reward, report)
    except AutoPipeError as error:
        print(json.dumps({"refusal": str(error)}), file=report, flush=True)
    else:
        print(json.dumps({"checks": list(map(asdict, checks))}), file=report, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
