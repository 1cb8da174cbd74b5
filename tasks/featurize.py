"""Meta-features: what a dataset and a base model look like before any training.

Text and answer statistics are counted here; the probes (base score, loss on completions, lengths in
tokens) need the model and run in a process of their own. All are cached by fingerprint.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from trials.dataset import Dataset, Row
from trials.errors import AutoPipeError
from trials.launch import Launcher, log_tail
from trials.probe_features import PROBE_VERSION
from trials.records import ProbeAnswer, ProbeRequest, read_record, write_json


def text_features(dataset: Dataset) -> dict[str, float]:
    """Statistics of prompts and answers of the training split (characters, shares, counts)."""
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
        AutoPipeError: when the process leaves no answer, with the end of its log.
    """
    content = f"{PROBE_VERSION}{request.model_dump_json()}"
    content += "".join(map(_state_of, request.models.values()))
    folder = folder / hashlib.sha256(content.encode()).hexdigest()[:16]
    answer_file, log_file = folder / "answer.json", folder / "log.txt"
    if answer_file.exists():
        return read_record(answer_file, ProbeAnswer)
    (folder / "refusal.txt").unlink(missing_ok=True)
    write_json(folder / "request.json", request)
    launcher.run("trials.probe", [folder / "request.json"], log_file)
    if not answer_file.exists():
        refusal = folder / "refusal.txt"
        if refusal.exists():
            raise AutoPipeError(refusal.read_text(encoding="utf-8"))
        raise AutoPipeError(f"measuring {request.dataset} failed:\n{log_tail(log_file)}")
    return read_record(answer_file, ProbeAnswer)


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
    return row.answer in row.prompt[-1]["content"]
