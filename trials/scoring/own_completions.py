"""The check that the rows' own completions earn the reward: where they do not, no model will.

Scored before any compute is spent, on every split. A reward that is somebody's code is called in a
process of its own, which is ended when it takes too long.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO, Any

from trials.data.card import CARD, card_instructions, is_user_code, unread_card
from trials.data.dataset import Dataset, Preference, Row, load_dataset
from trials.data.messages import Message
from trials.data.row_fields import marker_setting
from trials.data.subsets import fixed_subset
from trials.io.errors import AutoPipeError, RewardError
from trials.io.imports import child_environment
from trials.io.problems import shown
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
    """Rows of a split: with a completion, scored, and earning nothing, with the first of these."""

    split: str
    rows: int
    scored: int
    unrewarded: int
    example: str = ""


def check_own_completions(dataset: Dataset, allow_user_code: bool = False) -> list[str]:
    """Warnings about the rows' own completions: how many earn nothing, what was not looked at.

    Raises:
        RewardError: when most completions of a split earn nothing, with an example and what would
            fit; when the reward cannot be built or takes too long.
    """
    key = (str(dataset.path), dataset.fingerprint, allow_user_code)
    if key not in _found:
        _found.clear()  # the one dataset that a run is about is asked for again and again
        try:
            _found[key] = _with_card_explained(dataset, _warnings(dataset, allow_user_code))
        except RewardError as error:
            text = "\n  ".join(_with_card_explained(dataset, [str(error)]))
            raise type(error)(text) from None
    return list(_found[key])


_found: dict[tuple[str, str, bool], list[str]] = {}


def _with_card_explained(dataset: Dataset, warnings: list[str]) -> list[str]:
    """Warnings; those that ask a single file for a card say how that is given one."""
    explained = [text + card_instructions(dataset.path) * (CARD in text) for text in warnings]
    if (card := unread_card(dataset.path)) and not any(CARD in text for text in warnings):
        explained.append(f"{card} was not read" + card_instructions(dataset.path))
    return explained


def _warnings(dataset: Dataset, allow_user_code: bool) -> list[str]:
    kind, args = str(dataset.card.reward), dataset.card.reward_args
    reward = build_reward(dataset, allow_user_code)
    if is_user_code(kind) or (kind == "reasoning_gym" and allow_user_code):
        checks = _in_own_process(dataset, allow_user_code)
    else:
        checks = score_splits(dataset, reward)
    inferred = ", which was inferred from the answers" * dataset.reward_inferred
    shown_args = f" with {args}" if args and len(str(args)) < 80 else ""
    problem = f"of the rows' own completions earn nothing from the reward {kind!r}{inferred}"
    problem += f"{shown_args}: "
    failed = [check for check in checks if check.unrewarded * 2 > check.scored]
    if failed:
        fits = "".join(f"\n    - {each}" for each in suggest_settings(dataset))
        remedy = "fix the rows, or set `reward` or `answer_marker` in dataset.yaml"
        raise RewardError(
            f"{dataset.path}: most {problem}{_unrewarded(failed)}"
            "\n  expected: completions that their answers make right; "
            + (f"this would fit:{fits}" if fits else f"{remedy} (docs/datasets.md)")
        )
    warnings = []
    if some := [check for check in checks if check.unrewarded]:
        warnings.append(f"Some {problem}{_unrewarded(some)}")
    if partly := [each for each in checks if each.scored < each.rows]:
        counts = ", ".join(f"{each.scored:,} of {each.rows:,} in {each.split}" for each in partly)
        warnings.append(f"The reward was checked on a part of the rows' own completions: {counts}")
    if not any(check.rows for check in checks):
        warnings.append("No row has a completion, so the reward was not checked on any")
    return [*warnings, *_whole_solutions(dataset), *_turns_as_text(dataset)]


def _unrewarded(checks: Sequence[SplitCheck]) -> str:
    """The numbers of completions that earn nothing, and the first of them."""
    counts = (f"{each.unrewarded:,} of {each.scored:,} in {each.split}" for each in checks)
    return f"{', '.join(counts)}\n{checks[0].example}"


def _whole_solutions(dataset: Dataset) -> list[str]:
    """A warning when what stands in ``answer`` is a solution with an answer at its end."""
    card, rows = dataset.card, fixed_subset(dataset.splits.get("train", []), 100)
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
    rows = [row for rows in dataset.splits.values() for row in fixed_subset(rows, MAX_ROWS)]
    trained: list[tuple[Row | Preference, Message]] = [
        (row, message) for row in rows for message in row.completion
    ]
    for pair in dataset.preferences[:MAX_ROWS]:
        trained += [(pair, message) for message in pair.chosen + pair.rejected]
    turns = ((row, find_turn(str(message.get("content") or ""))) for row, message in trained)
    found = [(row, turn) for row, turn in turns if turn]
    if not found:
        return []
    row, turn = found[0]
    return [
        f"{len(found):,} of {len(trained):,} texts that are to be trained hold turns of a chat, "
        f"which the model would learn to write itself: {turn!r} in {row.file}:{row.line}. If they "
        "are not meant, write the chat as messages (docs/datasets.md) and leave its tokens out"
    ]


def score_splits(
    dataset: Dataset, reward: Reward, report: IO[str] | None = None
) -> list[SplitCheck]:
    """Scores the completions of every split, in the same order whenever it is done.

    The report is told of each row before it is scored, a JSON text a line.

    Raises:
        RewardFailed: when the reward raises, or gives no number.
    """
    deadline = time.monotonic() + TIME_LIMIT_SECONDS
    checks = []
    for number, (split, rows) in enumerate(dataset.splits.items()):
        usable = [row for row in rows if row.completion_text]
        # Each split has an equal share of the time that is left.
        until = time.monotonic() + (deadline - time.monotonic()) / (len(dataset.splits) - number)
        scored, bad = 0, []
        for row in fixed_subset(usable, MAX_ROWS):
            if scored and time.monotonic() > until:
                break
            if report:
                print(json.dumps({"at": f"{row.file}:{row.line}"}), file=report, flush=True)
            value = reward(row.completion_text, row)
            scored += 1
            if value <= 0 or (dataset.card.reward == "reasoning_gym" and value < NEGLIGIBLE_REWARD):
                bad.append((row, value))
        example = _example(dataset, *bad[0]) if bad else ""
        checks.append(SplitCheck(split, len(usable), scored, len(bad), example))
    return checks


def _example(dataset: Dataset, row: Row, value: float) -> str:
    completion, card = row.completion_text, dataset.card
    if card.reward in ("exact_match", "choice", "numeric"):
        read = answer_reader(dataset).read(completion)
    else:
        read = final_answer(completion, card.answer_marker)
    answers = " or ".join(map(shown, row.answers[:3]))
    end = "..." * (len(completion) > SHOWN_CHARACTERS) + completion[-SHOWN_CHARACTERS:]
    return (
        f"  for example {row.file or 'a row'}:{row.line}\n    answer: {answers}\n"
        f"    completion: {end!r}\n    taken as its answer: {shown(read)}\n"
        f"    reward: {value:g}"
    )


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
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        output, log = process.communicate(timeout=2 * TIME_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        at = _report(output).get("at")
        raise RewardError(
            f"the reward {dataset.card.reward!r} did not return within "
            f"{2 * TIME_LIMIT_SECONDS:.0f} s, scoring the completion of {at or 'the first row'}\n"
            "  expected: a function that returns soon"
        ) from None
    report = _report(output)
    if "refusal" in report:
        raise RewardError(report["refusal"])
    if "checks" not in report:
        end = "\n".join(log.strip().splitlines()[-5:])
        raise RewardError(
            f"the reward {dataset.card.reward!r} ended the process that it ran in (exit code "
            f"{process.returncode}), scoring the completion of {report.get('at')}\n{end}"
        )
    return [SplitCheck(**each) for each in report["checks"]]


def _report(output: str) -> dict[str, Any]:
    """The last value of each key that the process reported; a line cut short is left out."""
    report: dict[str, Any] = {}
    for line in output.splitlines():
        with suppress(ValueError, TypeError):
            report |= json.loads(line)
    return report


def main(arguments: Sequence[str]) -> None:
    """Prints the checks of `score_splits` as JSON lines, or why the reward was refused."""
    report, sys.stdout = sys.stdout, sys.stderr  # what the reward prints is not an answer
    try:
        dataset = load_dataset(arguments[0])
        reward = build_reward(dataset, "--allow-user-code" in arguments)
        checks = score_splits(dataset, reward, report)
    except AutoPipeError as error:
        print(json.dumps({"refusal": str(error)}), file=report, flush=True)
    else:
        print(json.dumps({"checks": list(map(asdict, checks))}), file=report, flush=True)
