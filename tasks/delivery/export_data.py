"""The rows of an export as TRL reads them, and the card that names their reward."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from trials.data.dataset import Dataset, DatasetCard, Row
from trials.scoring.rewards import distinct_answers

if TYPE_CHECKING:
    from tasks.delivery.export import Export

# The schema is given: from JSON lines, `datasets` would guess it and turn answers such as
# 2024-01-02 into timestamps.
CHAT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SFT_SCHEMA = pa.schema([("prompt", CHAT), ("completion", CHAT)])
DPO_SCHEMA = pa.schema([("prompt", CHAT), ("chosen", CHAT), ("rejected", CHAT)])
RL_SCHEMA = pa.schema(
    [
        ("prompt", CHAT),
        ("answer", pa.string()),
        ("alternatives", pa.list_(pa.string())),
        ("metadata", pa.string()),
    ]
)

GREEDY_DATA = "data/sft_followed"  # rows of SFT with those whose loss its schedule follows


def write_data(export: Export, folder: Path) -> None:
    """Rows of the training split in the order of the trial, and those of validation beside them."""
    dataset, stages = export.dataset, export.plan.stages
    folder.mkdir(parents=True)
    for split, rows in dataset.splits.items():
        if "sft" in stages and rows:
            _write_table(folder / f"sft_{split}.parquet", map(_sft_row, rows), SFT_SCHEMA)
        if "rl" in stages and rows:
            _write_table(folder / f"rl_{split}.parquet", map(_rl_row, rows), RL_SCHEMA)
    if "dpo" in stages:
        pairs = ({name: getattr(p, name) for name in DPO_SCHEMA.names} for p in dataset.preferences)
        _write_table(folder / "dpo_train.parquet", pairs, DPO_SCHEMA)
    if "sft" in stages and export.hyperparameters.sft_schedule == "greedy":
        _write_followed(export, folder / Path(GREEDY_DATA).name)


def _write_followed(export: Export, folder: Path) -> None:
    """The rows of SFT with the validation rows that the trial's own evaluations were on."""
    from trials.data.subsets import fixed_subset

    splits = dict(export.dataset.splits)
    splits["validation"] = fixed_subset(splits["validation"], export.spec.schedule.eval_rows)
    folder.mkdir()
    for split, rows in splits.items():
        if rows:
            _write_table(folder / f"{split}.parquet", map(_sft_row, rows), SFT_SCHEMA)


def _write_table(file: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> None:
    from trials.data.chat_table import chat_table, has_template_fields  # brings `datasets`

    content = list(rows)
    if any(map(has_template_fields, content)):  # tool calls, which have no common schema
        pq.write_table(chat_table(content).data.table, file)
    else:
        pq.write_table(pa.Table.from_pylist(content, schema), file)


def _sft_row(row: Row) -> dict[str, Any]:
    return {"prompt": row.prompt, "completion": row.completion}


def _rl_row(row: Row) -> dict[str, Any]:
    # Metadata as text: rows that differ in their fields have no common Arrow type.
    return {
        "prompt": row.prompt,
        "answer": row.answer,
        "alternatives": list(row.alternatives),
        "metadata": json.dumps(row.metadata),
    }


def reward_card(dataset: Dataset) -> DatasetCard:
    """The card that makes the reward from itself alone, without the rows of the dataset."""
    card, args = dataset.card, dict(dataset.card.reward_args)
    if card.reward == "choice":
        args.setdefault("choices", distinct_answers(dataset))
    return DatasetCard(
        reward=card.reward,
        reward_args=args,
        answer_marker=card.answer_marker,
        answer_format=card.answer_format,
    )
