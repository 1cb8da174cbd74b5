"""Groups of meta-features, and which of them the offline models learn from.

What a group adds on unseen datasets is measured by `python -m flows.offline evaluate` and reported
in docs/offline.md. A group that adds nothing is still measured and kept in the history, where a
larger one may find a use for it, but nothing is learned from it.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from surrogates.history.features import matching
from surrogates.history.table import META

GROUPS: dict[str, tuple[str, ...]] = {
    "text": (
        "log_rows", "prompt_characters*", "prompt_digit_share", "answer_*", "distinct_answer_share",
        "majority_answer_share", "completion_characters",
    ),
    "probes": ("base_*", "probe_*", "prompt_tokens", "completion_tokens"),
    "rewards": ("sampled_*", "pass_*"),
    "model": ("model_*",),
}  # fmt: skip
"""Name -> patterns of names without `meta.`."""
OTHER = "other"  # features of the team's own: nothing is known of them, so they are learned from
DROPPED = ("text", "rewards")


def groups_of(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The groups with a feature among the names (without `meta.`), and those features."""
    names = list(names)
    groups = {group: tuple(matching(names, patterns)) for group, patterns in GROUPS.items()}
    grouped = {name for each in groups.values() for name in each}
    groups[OTHER] = tuple(name for name in names if name not in grouped)
    return {group: each for group, each in groups.items() if each}


def meta_names(rows: pd.DataFrame) -> list[str]:
    """Names of the meta-features of a history, without `meta.`."""
    return [str(c).removeprefix(META) for c in rows if str(c).startswith(META)]


def learned_features(rows: pd.DataFrame) -> pd.DataFrame:
    """The history without the meta-features that nothing is learned from."""
    groups = groups_of(meta_names(rows))
    return rows.drop(columns=[META + name for group in DROPPED for name in groups.get(group, ())])
