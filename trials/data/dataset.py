"""Loads a dataset folder (or one file) and refuses bad input with file, line, found, expected.

A dataset is ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl`` in one folder (or the same in
another format of ``trials.data.data_files``), with an optional ``dataset.yaml`` and, for a DPO
stage, an optional ``preferences.jsonl``. A row has ``prompt``, ``completion`` (strings or chat
messages, see ``trials.data.messages``), ``answer``, and optionally ``context`` and ``metadata``; a
preference has ``prompt``, ``chosen`` and ``rejected``. Other fields are carried along unread.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trials.data.answers import infer_reward, read_answers
from trials.data.card import LATER_FIELDS, is_user_code, read_card
from trials.data.card import DatasetCard as DatasetCard
from trials.data.data_files import (
    PREFERENCES,
    SPLITS,
    Split,
    find_file,
    fingerprinted_files,
    read_rows,
    split_files,
)
from trials.data.messages import (
    Message,
    parse_json_chats,
    read_completion,
    read_prompt,
    reject_tools,
    split_common_prompt,
    split_conversation,
    validate_text,
)
from trials.data.prompt_template import fill_template
from trials.data.row_fields import require_fields
from trials.data.splits import SplitLeakCheck, reject_empty_splits
from trials.io.errors import DatasetError, RowLocation
from trials.io.hashing import content_hash, file_hash


@dataclass(frozen=True)
class Row:
    """One example in chat form; answers and ``metadata`` are what the reward sees.

    The ``alternatives`` are as right as ``answer``.
    """

    prompt: list[Message]
    completion: list[Message]
    answer: str
    metadata: dict[str, Any]
    file: Path | None = field(default=None, compare=False)
    line: int | None = field(default=None, compare=False)
    alternatives: tuple[str, ...] = ()

    @property
    def completion_text(self) -> str:
        """The last message of the completion; empty without one."""
        return str(self.completion[-1].get("content") or "") if self.completion else ""

    @property
    def answers(self) -> tuple[str, ...]:
        """All that are right."""
        return (self.answer, *self.alternatives)


@dataclass(frozen=True)
class Preference:
    """Two completions of one prompt in chat form, of which ``chosen`` is the better one."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    file: Path | None = field(default=None, compare=False)
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Dataset:
    """A loaded and checked dataset; ``card.reward`` is always set."""

    path: Path
    card: DatasetCard
    fingerprint: str
    splits: dict[Split, list[Row]]
    reward_inferred: bool
    preferences: list[Preference] = field(default_factory=list)

    @property
    def name(self) -> str:
        own = Path(self.path.name.removesuffix(".gz")).stem
        return self.card.name or own.encode("utf-8", "backslashreplace").decode()


def load_dataset(path: Path | str, splits: tuple[Split, ...] = SPLITS) -> Dataset:
    """Loads and checks a dataset: a folder with the three splits, or one file or table.

    The latter is split 80/10/10 by a hash of the prompt, so that a row never changes split when
    others are added. All ``splits`` are read for the fingerprint, whichever are loaded.

    Raises:
        DatasetError: at the first bad file or row.
    """
    path = Path(path)
    card = read_card(path)
    files = split_files(path)
    rows: dict[Split, list[Row]] = {split: [] for split in SPLITS}
    prompts = SplitLeakCheck()
    for file, split_of in files:
        for line, raw in read_rows(file):
            location = RowLocation(file, line)
            row = _parse_row(raw, card, location)
            key = _key(row.prompt)
            split = split_of or _hash_split(key)
            prompts.add(key, split, location)
            rows[split].append(row)
    prompts.reject(
        "every prompt in one split only, or scores would be inflated: remove the rows from one of "
        "the two"
    )
    by_hash = any(split is None for _, split in files)
    reject_empty_splits(path, rows, len(prompts.first_seen) if by_hash else None)
    reward = card.reward or infer_reward(each for row in rows["train"] for each in row.answers)
    return Dataset(
        path=path,
        card=card.model_copy(update={"reward": reward}),
        fingerprint=fingerprint(path),
        splits={split: rows[split] for split in splits},
        reward_inferred=card.reward is None,
        preferences=_read_preferences(path, card, prompts),
    )


def fingerprint(path: Path | str) -> str:
    """Content hash of a dataset: rows, preferences and card, wherever the folder lies."""
    parts: list[str | bytes] = []
    path = Path(path)
    entries = [entry for entry, _ in split_files(path)]
    if preferences := find_file(path, PREFERENCES):
        entries.append(preferences)
    for entry in entries:
        for file in fingerprinted_files(entry):
            inner = () if file == entry else (file.name,)
            names = [*((entry.name,) if entry != path else ()), *inner]
            parts.append(os.fsencode("/".join(names)) if names else b"rows")
            parts.append(bytes.fromhex(file_hash(file)))
    card = read_card(path)
    absent = {name for name in LATER_FIELDS if getattr(card, name) is None}
    return content_hash(*parts, card.model_dump_json(exclude=absent))


def render(tokenizer: Any, messages: list[Message], generation_prompt: bool = False) -> str:
    """Messages as the model's own chat template writes them; plain text without a template."""
    if getattr(tokenizer, "chat_template", None):
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generation_prompt
        )
        return text
    return "\n".join(message["content"] for message in messages) + "\n" * generation_prompt


def _parse_row(written: Mapping[str, Any], card: DatasetCard, location: RowLocation) -> Row:
    raw = split_conversation(parse_json_chats(written, location), location)
    require_fields(raw, ("prompt", "completion", "answer"), location, written)
    reject_tools(raw, location)
    prompt, before = _prompt_messages(raw, card, location)
    # The user's own code gets answers as they are.
    marker = None if is_user_code(str(card.reward)) else card.answer_marker
    answers = read_answers(raw["answer"], marker, location)
    for each in answers:
        validate_text(each, "answer", location)
    return Row(
        prompt=prompt,
        completion=read_completion(raw["completion"], "completion", (prompt, before), location),
        answer=answers[0],
        alternatives=answers[1:],
        metadata=_metadata(raw.get("metadata"), location),
        file=location.file,
        line=location.line,
    )


def _metadata(value: Any, location: RowLocation) -> dict[str, Any]:
    """Metadata as an object; tables, whose rows have the same fields, hold them as JSON."""
    found = value
    if isinstance(value, str) and value.strip():
        with suppress(ValueError, RecursionError):
            found = json.loads(value)
    if not isinstance(found or {}, dict):
        raise location.error(f"metadata is a {type(value).__name__}", "an object")
    return found or {}


def _read_preferences(path: Path, card: DatasetCard, prompts: SplitLeakCheck) -> list[Preference]:
    """Preferences of a folder, of which no prompt is held out; none without their file."""
    file = find_file(path, PREFERENCES)
    if file is None:
        return []
    pairs = []
    for line, raw in read_rows(file):
        pairs.append(_parse_preference(raw, card, RowLocation(file, line)))
        prompts.add_preference(_key(pairs[-1].prompt), RowLocation(file, line))
    prompts.reject(
        "no prompt of validation or test, or scores would be inflated: remove these preferences"
    )
    if not pairs:
        expected = "at least one row with prompt, chosen and rejected, or no such file"
        raise DatasetError("there are no preferences in the file", path=file, expected=expected)
    return pairs


def _parse_preference(
    written: Mapping[str, Any], card: DatasetCard, location: RowLocation
) -> Preference:
    raw = split_common_prompt(parse_json_chats(written, location), location)
    reject_tools(raw, location)
    require_fields(raw, ("prompt", "chosen", "rejected"), location, written)
    prompts = _prompt_messages(raw, card, location)
    chosen, rejected = (
        read_completion(raw[side], side, prompts, location) for side in ("chosen", "rejected")
    )
    if chosen == rejected:
        expected = "two different completions, the better one in chosen"
        raise location.error("chosen and rejected are the same", expected)
    return Preference(prompts[0], chosen, rejected, *location)


def _prompt_messages(
    raw: Mapping[str, Any], card: DatasetCard, location: RowLocation
) -> tuple[list[Message], list[Message]]:
    """The prompt of a row, and the same before the template was filled in."""
    prompt, template = raw["prompt"], card.prompt_template
    if template is None and raw.get("context"):
        template = "{context}\n\n{prompt}"
    before = read_prompt(prompt, location)
    if not isinstance(prompt, str) or not template:
        return before, before
    text = validate_text(fill_template(template, raw, location), "prompt", location)
    return [{"role": "user", "content": text}], before


def _key(prompt: list[Message]) -> str:
    return json.dumps(prompt, sort_keys=True)


def _hash_split(prompt: str) -> Split:
    bucket = int(content_hash(prompt, digits=8), 16) % 10
    return "validation" if bucket == 8 else "test" if bucket == 9 else "train"
