"""The card of a dataset, ``dataset.yaml``."""

from __future__ import annotations

import shlex
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trials.io.errors import DatasetError
from trials.io.plain_yaml import read_yaml
from trials.io.problems import expectation, known_keys, meant, place, shown
from trials.matching.text import DEFAULT_MARKER

# "exact_match", "choice", "numeric", "reasoning_gym", "trl.rewards:NAME" or "module:function"
RewardKind = str
TRL_PREFIX = "trl.rewards"
CARD = "dataset.yaml"
# Fields of the card that came later: fingerprints of datasets without them must stay as they were.
LATER_FIELDS = ("answer_format",)


class DatasetCard(BaseModel):
    """``dataset.yaml``: how the rows are scored and turned into prompts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None = None
    description: str = ""
    reward: RewardKind | None = Field(None, description="Inferred from the answers when absent.")
    reward_args: dict[str, Any] = {}
    metric: str = "accuracy"
    prompt_template: str | None = Field(
        None,
        description="Text with names of the row's fields in braces, e.g. '{context}\\n{prompt}'.",
    )
    answer_marker: str = Field(
        DEFAULT_MARKER, description="The answer follows its last occurrence."
    )
    answer_format: str | None = Field(
        None,
        description="Regular expression that the format term of the RL reward looks for; absent: "
        "one answer marker with an answer behind it.",
    )


def is_trl_reward(kind: str) -> bool:
    """True for one of the functions that TRL itself brings along."""
    return kind.startswith(f"{TRL_PREFIX}:")


def is_user_code(kind: str) -> bool:
    """True for a reward that is code and runs only when allowed."""
    return ":" in kind and not is_trl_reward(kind)


def read_card(path: Path) -> DatasetCard:
    """The card in a dataset's folder; the defaults where there is none.

    Raises:
        DatasetError: when it is not such a mapping, naming the field.
    """
    file = path / CARD
    if not path.is_dir() or not file.exists():
        return DatasetCard()
    try:
        content = read_yaml(file)
    except (OSError, ValueError) as error:
        raise DatasetError(f"not readable: {error}", path=file, expected="a YAML mapping") from None
    if content is None:  # empty, or comments alone
        return DatasetCard()
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        keys = " with keys that are not texts" * isinstance(content, dict)
        kind = f"a {type(content).__name__}{keys}"
        raise DatasetError(f"not readable: it is {kind}", path=file, expected="a YAML mapping")
    try:
        return DatasetCard(**content)
    except ValidationError as error:
        detail = error.errors()[0]
        found, expected = f"found {shown(detail['input'])}", expectation(detail)
        if detail["type"] == "extra_forbidden":
            key, known = place(detail), known_keys(DatasetCard)
            found, expected = f"{expected}{meant(key, known)}", f"one of {', '.join(known)}"
        elif detail["type"] == "string_type":
            expected += ", in quotes where it looks like something else"
        raise DatasetError(
            f"{place(detail)}: {found}", path=file, expected=expected.removeprefix("expected ")
        ) from None


def unread_card(path: Path) -> Path | None:
    """A card that lies beside a single file, where it is not read; None where there is none."""
    card = path.with_name(CARD)
    return card if path.is_file() and card.is_file() else None


def card_instructions(path: Path) -> str:
    """Lines that say how a single file gets a card; nothing for a folder, which can have one."""
    if not path.is_file():
        return ""
    path = path.absolute()
    card = unread_card(path)
    name = path.name.removesuffix(".gz").removesuffix(Path(path.name.removesuffix(".gz")).suffix)
    folders = (path.with_name(f"{name}_{number}" if number else name) for number in count())
    folder = next(each for each in folders if not each.exists())
    moved = " ".join(shlex.quote(str(each)) for each in (path, card) if each)
    home = shlex.quote(str(folder))
    edit = "change" if card else "write"
    return (
        f"\n  {CARD} is read from the folder that is tuned, and this is a single file"
        f"{'; the one beside it is not read' if card else ''}. Make it a folder:"
        f"\n    mkdir {home} && mv {moved} {home}/"
        f"\n    {edit} {shlex.quote(str(folder / CARD))}"
        f"\n    autopipe tune {home}  (and the options as before)"
    )
