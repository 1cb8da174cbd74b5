"""The rows of an export as TRL reads them, and the card that names their reward."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from trials.data.dataset import Dataset, DatasetCard
from trials.data.subsets import fixed_subset, nested_share
from trials.scoring.rewards import distinct_answers
from trials.spec.kinds import Stage

if TYPE_CHECKING:
    from tasks.delivery.export import Export

# The schema is given: from JSON lines, `datasets` would guess it and turn answers such as
# 2024-01-02 into timestamps.
CHAT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMAS: dict[Stage, pa.Schema] = {
    "sft": pa.schema({"prompt": CHAT, "completion": CHAT}),
    "dpo": pa.schema({"prompt": CHAT, "chosen": CHAT, "rejected": CHAT}),
    # Metadata as text: rows that differ in their fields have no common Arrow type.
    "rl": pa.schema(
        {
            "prompt": CHAT,
            "answer": pa.string(),
            "alternatives": pa.list_(pa.string()),
            "metadata": pa.string(),
        }
    ),
}
GREEDY_DATA = "data/sft_followed"  # rows of SFT with those whose loss its schedule follows


def write_data(export: Export, folder: Path) -> None:
    """Rows of the training split in the order of the trial, and those of validation beside them."""
    dataset, share = export.dataset, export.hyperparameters.sft_rows_share
    seen = nested_share(dataset.splits["train"], share) if share < 1 else dataset.splits["train"]
    folder.mkdir(parents=True)
    for stage in export.plan.stages:
        if stage == "dpo":
            _write_table(folder / "dpo_train.parquet", dataset.preferences, SCHEMAS[stage])
            continue
        splits = dataset.splits | ({"train": seen} if stage == "sft" else {})
        for split, rows in splits.items():
            _write_table(folder / f"{stage}_{split}.parquet", rows, SCHEMAS[stage])
    if "sft" in export.plan.stages and export.hyperparameters.sft_schedule == "greedy":
        # With the validation rows that the trial's own evaluations were on.
        validation = fixed_subset(dataset.splits["validation"], export.spec.schedule.eval_rows)
        followed = folder / Path(GREEDY_DATA).name
        followed.mkdir()
        for split, rows in (dataset.splits | {"train": seen, "validation": validation}).items():
            _write_table(followed / f"{split}.parquet", rows, SCHEMAS["sft"])


def _write_table(file: Path, rows: Sequence[object], schema: pa.Schema) -> None:
    from trials.data.chat_table import chat_table, has_template_fields  # brings `datasets`

    if not rows:
        return
    content = [{name: getattr(row, name) for name in schema.names} for row in rows]
    for row in content:
        if "metadata" in row:
            row |= {"metadata": json.dumps(row["metadata"]), "alternatives": [*row["alternatives"]]}
    if any(map(has_template_fields, content)):  # tool calls, which have no common schema
        pq.write_table(chat_table(content).data.table, file)
    else:
        pq.write_table(pa.Table.from_pylist(content, schema), file)


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
