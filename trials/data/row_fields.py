"""The required fields of a row, and one message with all that is missing and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trials.data.messages import CONVERSATION_FIELDS
from trials.io.errors import RowLocation
from trials.matching.text import DEFAULT_MARKER, KNOWN_MARKERS, has_marker

# Names under which other datasets keep the fields, those that mean it most surely first.
FIELD_ALIASES = {
    "prompt": ("question", "instruction", "query", "problem", "input"),
    "completion": ("response", "output", "solution"),
    "answer": ("label", "target", "gold", "final_answer"),
}
FOLLOWS_MARKER = f'its result follows "{DEFAULT_MARKER}", or the `answer_marker` of dataset.yaml'
MAX_RESULT_CHARACTERS = 40  # characters; more are hardly a result alone
MAX_LISTED_FIELDS = 20  # that are named


def require_fields(
    raw: Mapping[str, Any], names: Sequence[str], location: RowLocation, written: Mapping[str, Any]
) -> None:
    """Rejects a row that lacks a field; ``raw`` was made of what is ``written`` in the file.

    Raises:
        DatasetError: with the fields that were found, and how they become those that are needed.
    """
    missing = [name for name in names if is_empty(raw.get(name))]
    if not missing:
        return
    found = list(written)
    shown = ", ".join(found[:MAX_LISTED_FIELDS]) + ", ..." * (len(found) > MAX_LISTED_FIELDS)
    steps = "".join(f"\n    - {step}" for step in _steps(raw, names, missing))
    how = f"; of rows like this one (docs/datasets.md):{steps}" if steps else ""
    problem = f"{_listed(missing)} missing or empty (fields found: {shown or 'none'})"
    raise location.error(problem, f"{_listed(names)} in every row" + how)


def is_empty(value: Any) -> bool:
    """True when a field holds nothing that could be used."""
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _steps(raw: Mapping[str, Any], names: Sequence[str], missing: Sequence[str]) -> Iterator[str]:
    """The changes that give the row its fields, as far as they can be told."""
    renamed = {name: other for name in missing if (other := _other(raw, name))}
    yield from (f"rename {other} to {name}" for name, other in renamed.items())
    if renamed.get("prompt", "").lower() == "instruction" and "input" in map(str.lower, raw):
        yield (
            "rename input to context, which is put before the prompt, or where `prompt_template` "
            "in dataset.yaml says"
        )
    values = {name: raw.get(renamed.get(name, name)) for name in names}
    answer, completion = values.get("answer"), values.get("completion")
    if "answer" in names and not is_empty(answer) and is_empty(completion):
        text = answer if isinstance(answer, str) else None
        yield "add completion: a copy of answer will do" + ", as a text" * (text is None)
        if text is not None and len(text) > MAX_RESULT_CHARACTERS:
            kept = f"leave the result alone in answer; a whole solution only where {FOLLOWS_MARKER}"
            yield f"leave answer as it is{_where(marker)}" if (marker := _marker(text)) else kept
    if "answer" in names and is_empty(answer) and not is_empty(completion):
        chat = any(raw.get(field) for field in CONVERSATION_FIELDS)
        source = "the assistant's last turn" if chat else "completion"
        yield _answer_from(completion, source)
    if all(map(is_empty, values.values())):
        lists = {key: value for key, value in raw.items() if isinstance(value, list) and value}
        if key := next((key for key, value in lists.items() if isinstance(value[0], dict)), None):
            yield f"if the rows are the list {key}, write that list alone into the file"


def _marker(text: str) -> str | None:
    return next((each for each in (DEFAULT_MARKER, *KNOWN_MARKERS) if has_marker(text, each)), None)


def _where(marker: str | None) -> str:
    """The setting with which the result of a whole text is read."""
    if marker is None:
        return ""
    if marker == DEFAULT_MARKER:
        return f"; of it counts what follows {json.dumps(marker)}"
    return f"; set {marker_setting(marker)}"


def marker_setting(marker: str) -> str:
    """The line of ``dataset.yaml`` with which whole solutions can stand in ``answer``."""
    return f"`answer_marker: {json.dumps(marker)}` in dataset.yaml if the answer is what follows it"


def _answer_from(completion: Any, source: str) -> str:
    """Advice on making an answer out of what the model is taught to write."""
    last = completion[-1] if isinstance(completion, list) else completion
    text = str(last.get("content") or "") if isinstance(last, dict) else str(last)
    marker = _marker(text)
    if len(text) <= MAX_RESULT_CHARACTERS or marker:
        return f"add answer: a copy of {source} will do" + _where(marker)
    return (
        f"add answer: the result of {source} alone, which a model's own is compared with; a whole "
        f"text only where {FOLLOWS_MARKER}"
    )


def _other(raw: Mapping[str, Any], name: str) -> str | None:
    """The field that is this one under another name."""
    filled = {key.lower(): key for key in reversed(list(raw)) if not is_empty(raw[key])}
    names = (name, *FIELD_ALIASES.get(name, ()))
    return next((filled[each] for each in names if each in filled), None)
