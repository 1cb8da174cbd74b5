"""Meta-features: descriptions of a dataset and a base model before any training (docs/features.md).

Text and answer statistics are counted here; the probes (base score, loss on completions, lengths in
tokens) need the model and run in a process of their own. All are cached by fingerprint.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tasks.config.progress import Progress, Report, quiet, silent
from trials.data.dataset import Dataset
from trials.evaluation.measurement import ANSWER, REFUSAL, REQUEST
from trials.evaluation.probe_features import PROBE_VERSION
from trials.io.errors import AutoPipeError
from trials.io.hashing import content_hash
from trials.process.supervisor import MeasurementFailed, Supervisor
from trials.spec.events import Event
from trials.spec.records import Limits, ProbeAnswer, ProbeRequest, read_record, write_json


class Refusal(str):
    """The reason why a model cannot be measured on a dataset: a sentence for people."""


def text_features(dataset: Dataset) -> dict[str, float]:
    """Statistics of prompts and answers of the training split."""
    rows = dataset.splits["train"]
    prompts = [row.prompt[-1]["content"] for row in rows]
    completions = [row.completion[-1]["content"] for row in rows]
    answers = [row.answer for row in rows]
    counts, total = Counter(answers), len(rows)
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
        "answer_in_prompt_share": statistics.fmean(
            any(answer in prompt for answer in row.answers)
            for prompt, row in zip(prompts, rows, strict=True)
        ),
        "completion_characters": statistics.fmean(map(len, completions)),
    }


def probe(
    request: ProbeRequest,
    folder: Path,
    measurer: Supervisor,
    limits: Limits = Limits(),  # noqa: B008  # frozen
    say: Report = silent,
) -> ProbeAnswer:
    """Scores models; the answer is kept in ``folder``. Without one an AutoPipeError says why."""
    return require_answers(probe_all([request], [folder], measurer, limits=limits, say=say))[0]


def probe_all(
    requests: Sequence[ProbeRequest],
    folders: Sequence[Path],
    measurer: Supervisor,
    report: Progress = quiet,
    limits: Limits = Limits(),  # noqa: B008  # frozen
    say: Report = silent,
) -> list[ProbeAnswer | Refusal]:
    """Answers each request, or says why dataset and model do not go together, in their order.

    Args:
        requests: those for one model side by side, so that it is loaded once.
        folders: of the kept answers, which are not measured again; requests may share one.
        report, say: receive how many are answered, and the progress of each measurement.

    Raises:
        AutoPipeError: a request has neither, for it crashed or took too long, with the end of its
            log. All others are answered and kept.
    """
    places = [_place(*pair) for pair in zip(requests, folders, strict=True)]
    asked = zip(places, requests, strict=True)
    pending = {place: request for place, request in asked if not (place / ANSWER).exists()}
    report(len(places) - len(pending), len(places))
    failures: list[str] = []
    for number, (place, request) in enumerate(pending.items(), 1):
        write_json(place / REQUEST, request)
        try:
            measurer.measure(place / REQUEST, limits, partial(_on_event, say))
        except MeasurementFailed as failed:
            failures.append(f"measuring {request.dataset} failed: {failed}")
        report(len(places) - len(pending) + number, len(places))
    if failures:
        raise AutoPipeError("\n".join(failures))
    return [_found(place) for place in places]


def _on_event(say: Report, event: Event) -> None:
    if event["kind"] == "evaluating":
        say(event["what"], event["done"], event["rows"])
    elif event["kind"] == "phase":
        say(event["phase"], 0, 0)


def require_answers(found: Sequence[ProbeAnswer | Refusal]) -> list[ProbeAnswer]:
    """The answers, where all requests have one; an AutoPipeError with every refusal."""
    if refusals := [each for each in found if isinstance(each, Refusal)]:
        raise AutoPipeError("\n".join(dict.fromkeys(refusals)))
    return [each for each in found if isinstance(each, ProbeAnswer)]


def _place(request: ProbeRequest, folder: Path) -> Path:
    """The folder of a request's answer, named by a hash of the request and of its models' files."""
    states = ""
    for model in request.models.values():  # a hub id has no files
        files = sorted(Path(model).glob("*"))
        stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        states += repr(stats)
    return folder / content_hash(f"{PROBE_VERSION}{request.model_dump_json()}{states}")


def _found(place: Path) -> ProbeAnswer | Refusal:
    if (place / ANSWER).exists():
        return read_record(place / ANSWER, ProbeAnswer)
    return Refusal((place / REFUSAL).read_text(encoding="utf-8"))


def meta_features(dataset: Dataset, answer: ProbeAnswer) -> dict[str, float]:
    """All meta-features of a dataset and a model as one flat row; the probe had ``features`` on."""
    base_score = answer.scores["base"].score
    return {**text_features(dataset), **answer.features, "base_score": base_score}


def _share_of(texts: list[str], test: Callable[[str], bool]) -> float:
    characters = "".join(texts)
    return sum(map(test, characters)) / max(1, len(characters))
