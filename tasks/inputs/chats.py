"""Checks before any compute: the model can work, its chat template keeps the rows, and they fit."""

from __future__ import annotations

import heapq
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trials.data.dataset import Dataset, Message, Preference, Row
from trials.data.lengths import max_row_tokens, reject_long_rows
from trials.data.messages import has_template_keys
from trials.io.errors import DatasetError, ModelError
from trials.io.hashing import content_hash
from trials.io.record_files import write_json
from trials.models.check import check_folder
from trials.models.fingerprints import model_fingerprint
from trials.process.launch import Launcher, end_group, log_tail

CHECK_VERSION = 2  # to be raised when the check finds more than before
CHECKED_ROWS = 4_096  # rows that are rendered at most; a second or two
LONGEST_ROWS = 1_024  # of more rows these are rendered, too, for their lengths
TIMEOUT_SECONDS = 900.0  # of one check, on a machine however busy
REMEDY = (
    "a chat template that writes all of it; choose another model, or change the row or the "
    "chat_template in the model's folder"
)


def check_chats(dataset: Dataset, model: str, cache: Path, max_length: int | None = None) -> None:
    """Checks a model folder, and renders the rows with its chat template in a process of its own.

    A good outcome is remembered in ``cache``. A model of the hub is checked once it was fetched.
    Of more than ``CHECKED_ROWS`` rows a sample is rendered, always the same, with every form that a
    chat has in the data, and the longest; ``max_length`` is in tokens.

    Raises:
        ModelError: when trials could not work with the model.
        DatasetError: with the row that the template refuses, or of which it loses something; with
            those that are too long.
    """
    folder = model_folder(model)
    if folder is None:
        return
    check_folder(folder)
    fingerprint = model_fingerprint(str(folder), cache / "fingerprints")
    state = (CHECK_VERSION, dataset.fingerprint, fingerprint)
    known = cache / "chats" / content_hash(repr(state), digits=24)
    if known.exists() and _fits(known, max_length):
        return
    rows = _sample(dataset)
    found = _check(folder, rows, dataset)
    lengths = [(row, length) for (row, *_), length in zip(rows, found["lengths"], strict=True)]
    reject_long_rows(dataset, lengths, max_length, found["context"])
    known.parent.mkdir(parents=True, exist_ok=True)
    write_json(known, {"longest": max(found["lengths"]), "context": found["context"]})


def _fits(known: Path, max_length: int | None) -> bool:
    """True when rows that passed in another run are short enough for this one."""
    try:
        found = json.loads(known.read_text(encoding="utf-8"))
        return bool(found["longest"] <= max_row_tokens(max_length, found["context"]))
    except (OSError, ValueError, KeyError, TypeError):  # cut short by a full disk; looked at again
        return False


def model_folder(model: str) -> Path | None:
    """The folder of a model; None for one of the hub that was not fetched yet."""
    if Path(model).is_dir():
        return Path(model)
    from transformers.utils import cached_file

    try:
        config = cached_file(model, "config.json", local_files_only=True)
    except (OSError, ValueError):  # not fetched; or no name of the hub either, and loading says so
        return None
    return Path(config).parent if config else None


RenderedRow = tuple[Row | Preference, str, list[Message]]


def _sample(dataset: Dataset) -> list[RenderedRow]:
    """Rows with the completion to render and its field."""
    found: list[RenderedRow] = [
        (row, "completion", row.completion) for rows in dataset.splits.values() for row in rows
    ]
    for pair in dataset.preferences:
        found += [(pair, "chosen", pair.chosen), (pair, "rejected", pair.rejected)]
    if len(found) <= CHECKED_ROWS:
        return found
    forms: dict[tuple[object, ...], int] = {}
    for index, (row, field, completion) in enumerate(found):
        chat = row.prompt + completion
        roles, last = tuple(message["role"] for message in chat), chat[-1]["content"]
        # Templates branch on the order of roles, on tools, and on tags in the last text.
        forms.setdefault((field, roles, has_template_keys(chat), "<" in last), index)
    chosen = random.Random(0).sample(range(len(found)), CHECKED_ROWS)
    sizes = [
        sum(len(message["content"]) for message in (*row.prompt, *completion))
        for row, _, completion in found
    ]
    longest = heapq.nlargest(LONGEST_ROWS, range(len(found)), key=sizes.__getitem__)
    formed = list(forms.values())[:CHECKED_ROWS]
    return [found[index] for index in sorted({*chosen, *formed, *longest})]


def _check(folder: Path, rows: list[RenderedRow], dataset: Dataset) -> dict[str, Any]:
    """The lengths of rows in tokens, and the context of the model, as the child found them."""
    request = {
        "model": str(folder.resolve()),
        "rows": [
            {"prompt": row.prompt, "completion": completion, "field": field}
            for row, field, completion in rows
        ],
    }
    with tempfile.TemporaryDirectory(prefix="autopipe-chats-") as name:
        found, log = _answer(Path(name), request)
    row = rows[found["row"]][0] if "row" in found else None
    if "refusal" in found:
        raise ModelError(found["refusal"])
    if row is not None:
        raise DatasetError(
            found.get("problem") or "the chat template does not come to an end on the row",
            path=row.file or dataset.path,
            line=row.line,
            expected=REMEDY,
        )
    if "lengths" not in found:
        raise ModelError(
            f"the tokenizer of {folder} could not be tried\n"
            "  expected: a model folder whose tokenizer loads; the end of the log:\n" + log
        )
    return found


def _answer(folder: Path, request: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The answer of the child and the end of its log; what it had written if it was ended."""
    question, answer, log = (folder / name for name in ("request.json", "answer.json", "log.txt"))
    question.write_text(json.dumps(request), encoding="utf-8")
    answer.write_text('{"started": true}', encoding="utf-8")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "trials.models.chat_check", str(question), str(answer)],
            env=Launcher().environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            end_group(process)
    try:
        found = json.loads(answer.read_text(encoding="utf-8"))
    except ValueError:  # ended while it wrote
        found = {"started": True}
    return found, log_tail(log)
