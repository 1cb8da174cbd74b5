"""Meta-features: what a dataset and a base model look like before any training.

Text and answer statistics are counted here; the probes (base score, loss on completions, lengths in
tokens) need the model and run in a process of their own. All are cached by fingerprint. Each one is
described, with its unit and its cost, in docs/features.md.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.progress import Progress, quiet
from trials.dataset import Dataset, Row
from trials.errors import AutoPipeError
from trials.launch import Launcher, log_tail
from trials.probe_features import PROBE_VERSION
from trials.records import ProbeAnswer, ProbeRequest, read_record, write_json

ANSWER, REFUSAL, LOG = "answer.json", "refusal.txt", "log.txt"


class Refusal(str):
    """Why a model cannot be measured on a dataset: a sentence for the person who asked."""


def text_features(dataset: Dataset) -> dict[str, float]:
    """Statistics of prompts and answers of the training split."""
    rows = dataset.splits["train"]
    prompts = [row.prompt[-1]["content"] for row in rows]
    answers = [row.answer for row in rows]
    counts = Counter(answers)
    total = len(rows)
    return {
        "log_rows": math.log10(total),
        "prompt_characters": statistics.fmean(map(len, prompts)),
        "prompt_characters_sd": statistics.pstdev(map(len, prompts)),
        "prompt_digit_share": _share_of(prompts, str.isdigit),
        "answer_characters": statistics.fmean(map(len, answers)),
        "answer_digit_share": _share_of(answers, str.isdigit),
        "answer_letter_share": _share_of(answers, str.isalpha),
        "distinct_answer_share": len(counts) / total,
        "majority_answer_share": counts.most_common(1)[0][1] / total,
        "answer_entropy_bits": -sum(n / total * math.log2(n / total) for n in counts.values()),
        "answer_in_prompt_share": statistics.fmean(_answer_in_prompt(row) for row in rows),
        "completion_characters": statistics.fmean(
            len(row.completion[-1]["content"]) for row in rows
        ),
    }


def probe(request: ProbeRequest, folder: Path, launcher: Launcher) -> ProbeAnswer:
    """Scores models in a process of their own; the answer is kept in ``folder`` and reused.

    Raises:
        AutoPipeError: when the request is refused, or the process leaves no answer, with the end of
            its log.
    """
    return answered(probe_all([request], [folder], launcher))[0]


def probe_all(
    requests: Sequence[ProbeRequest],
    folders: Sequence[Path],
    launcher: Launcher,
    report: Progress = quiet,
) -> list[ProbeAnswer | Refusal]:
    """Answers many requests with one launch; those that are kept already are not asked again.

    Args:
        requests: those for one model side by side, so that it is loaded once.
        folders: where the answers are kept, one folder a request; several may share one.
        launcher: of the process.
        report: told how many are answered, and of how many, whenever that changes.

    Returns:
        In the order of the requests: the answer, or why dataset and model do not go together.

    Raises:
        AutoPipeError: when a request has neither, for the process crashed, with the end of its log.
            What was answered before is kept.
    """
    places = [_place(*pair) for pair in zip(requests, folders, strict=True)]
    pending = {
        place: request
        for place, request in zip(places, requests, strict=True)
        if not (place / ANSWER).exists()
    }
    for place, request in pending.items():
        (place / REFUSAL).unlink(missing_ok=True)
        write_json(place / "request.json", request)
    if pending:
        shown = -1

        def watch() -> None:
            nonlocal shown
            done = sum((p / ANSWER).exists() or (p / REFUSAL).exists() for p in pending)
            if done != shown:
                shown = done
                report(len(places) - len(pending) + done, len(places))

        log_file = next(iter(pending)) / LOG
        launcher.run("trials.probe", [place / "request.json" for place in pending], log_file, watch)
        for place, request in pending.items():
            if not (place / ANSWER).exists() and not (place / REFUSAL).exists():
                log = log_tail(place / LOG) or log_tail(log_file)
                raise AutoPipeError(f"measuring {request.dataset} failed:\n{log}")
    report(len(places), len(places))
    return [_found(place) for place in places]


def answered(found: Sequence[ProbeAnswer | Refusal]) -> list[ProbeAnswer]:
    """The answers, when there is one for every request.

    Raises:
        AutoPipeError: with every refusal.
    """
    if refusals := [each for each in found if isinstance(each, Refusal)]:
        raise AutoPipeError("\n".join(dict.fromkeys(refusals)))
    return [each for each in found if isinstance(each, ProbeAnswer)]


def _place(request: ProbeRequest, folder: Path) -> Path:
    content = f"{PROBE_VERSION}{request.model_dump_json()}"
    content += "".join(map(_state_of, request.models.values()))
    return folder / hashlib.sha256(content.encode()).hexdigest()[:16]


def _found(place: Path) -> ProbeAnswer | Refusal:
    if (place / ANSWER).exists():
        return read_record(place / ANSWER, ProbeAnswer)
    return Refusal((place / REFUSAL).read_text(encoding="utf-8"))


def meta_features(dataset: Dataset, answer: ProbeAnswer) -> dict[str, float]:
    """All meta-features of a dataset and a model as one flat row.

    Args:
        dataset: with its training split loaded.
        answer: of a probe of the base model with ``features`` on.
    """
    base = answer.scores["base"]
    return {**text_features(dataset), **answer.features, "base_score": base.score}


def _state_of(model: str) -> str:
    """Names, sizes and times of a model's files; empty for a hub id."""
    files = sorted(Path(model).glob("*")) if Path(model).is_dir() else []
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return repr(stats)


def _share_of(texts: list[str], test: Callable[[str], bool]) -> float:
    characters = "".join(texts)
    return sum(map(test, characters)) / max(1, len(characters))


def _answer_in_prompt(row: Row) -> bool:
    return any(answer in row.prompt[-1]["content"] for answer in row.answers)
