"""Writes datasets of the catalog, in a process of its own (`tasks.inputs.catalog`).

PYTHONHASHSEED=0 python -m tasks.inputs.generate FOLDER '{"NAME": {...entry...}}'
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import reasoning_gym
import yaml

from tasks.inputs.catalog import SPLITS, CatalogError, DatasetEntry

# How many draws one distinct prompt may cost before a generator counts as exhausted.
DRAWS_PER_ROW = 40


def main(folder: Path, content: str) -> None:
    """Writes `<folder>/<name>` for each entry and prints it; a CatalogError for too few prompts."""
    for name, entry in json.loads(content).items():
        (folder / name).mkdir()
        _write_dataset(name, DatasetEntry.model_validate(entry), folder / name)
        print(name, flush=True)


def _write_dataset(name: str, entry: DatasetEntry, folder: Path) -> None:
    rows = _distinct_rows(name, entry)
    # The first draws of a small generator are its commonest prompts: shuffle, so splits are alike.
    random.Random(entry.seed).shuffle(rows)
    start = 0
    for split in SPLITS:
        stop = start + getattr(entry.sizes, split)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows[start:stop])
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
        start = stop
    scorer = {"dataset": entry.dataset} if entry.reward == "reasoning_gym" else {}
    card = {"name": name, "reward": entry.reward, "reward_args": scorer, "metric": "accuracy"}
    card["description"] = entry.description
    text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True)
    (folder / "dataset.yaml").write_text(text, encoding="utf-8")


def _distinct_rows(name: str, entry: DatasetEntry) -> list[dict[str, Any]]:
    """Draw rows until the entry's sizes are met, each prompt once."""
    wanted = entry.sizes.train + entry.sizes.validation + entry.sizes.test
    draws = DRAWS_PER_ROW * wanted
    options = {"size": draws, "seed": entry.seed, **entry.params}
    source = reasoning_gym.create_dataset(entry.dataset, **options)
    rows: dict[str, dict[str, Any]] = {}
    for index in range(draws):
        drawn = source[index]
        prompt = drawn["question"].strip()
        if prompt in rows or not drawn["answer"].strip():
            continue
        answer, metadata = drawn["answer"], drawn["metadata"]
        if entry.reward != "reasoning_gym":
            # These read the answer alone, and some metadata changes with the day of the draw.
            metadata = {"source_dataset": entry.dataset}
        row = {"prompt": prompt, "completion": answer, "answer": answer, "metadata": metadata}
        rows[prompt] = row
        if len(rows) == wanted:
            return list(rows.values())
    raise CatalogError(
        f"datasets.{name}: {wanted} distinct prompts are asked for, and {draws} draws of "
        f"{entry.dataset} gave {len(rows)}. Lower `sizes` or widen `params` in data/catalog.yaml."
    )


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except CatalogError as error:
        sys.exit(str(error))
