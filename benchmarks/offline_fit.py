"""Time from a large history to the first proposal, on one core.

    python -m benchmarks.offline_fit --rows 20000   # or: make bench-offline

The history is the bundled one, repeated under new dataset ids until it has so many trials: whole
datasets are drawn, their scores and curves are shaken, their meta-features shifted. It is written,
read, checked and fitted as a run does it. Every part is timed, in seconds of the processor too,
which on a busy machine is what one free core would take.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one core, whatever a library would take

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from surrogates.offline.models import OfflineModels
from surrogates.online.search import Search
from tasks.config.paths import BUNDLED_HISTORY
from tasks.history.checks import check_history
from tasks.history.rows import history_files, read_history, search_history, write_parquet
from tasks.inputs.spaces import load_space

SCORE_NOISE, META_NOISE = 0.02, 0.1


def enlarged(rows: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """At least ``count`` trials: the rows of whole datasets, drawn again and shaken."""
    rng = np.random.default_rng(seed)
    groups = [group for _, group in rows.groupby(["dataset_id", "model_id"], sort=True)]
    parts, total = [], 0
    while total < count:
        part = groups[int(rng.integers(len(groups)))].copy()
        name = f"copy{len(parts):04d}"
        part["dataset_id"] = part["dataset_fingerprint"] = name
        part["trial_id"] = [f"{name}/{number}" for number in range(len(part))]
        part["score"] += SCORE_NOISE * rng.standard_normal(len(part))
        part["curve"] = [_shaken(curve, rng) for curve in part["curve"]]
        meta = [column for column in part if str(column).startswith("meta.")]
        part[meta] *= np.exp(META_NOISE * rng.standard_normal(len(meta)))
        parts.append(part)
        total += len(part)
    return pd.concat(parts, ignore_index=True)


def _shaken(curve: str, rng: np.random.Generator) -> str:
    series = json.loads(curve)
    for steps, values in series.values():
        scale = 0.05 * float(np.std(values))
        values[:] = (np.array(values) + scale * rng.standard_normal(len(steps))).round(5).tolist()
    return json.dumps(series, separators=(",", ":"))


def main(
    rows: Annotated[int, typer.Option(help="Trials in the history.")] = 20_000,
    space: Annotated[str, typer.Option(help="Name in data/spaces, or a file.")] = "sft_grpo",
    history: Annotated[Path, typer.Option(help="What is repeated.")] = BUNDLED_HISTORY,
) -> None:
    """Print the seconds of every part."""
    seconds: dict[str, tuple[float, float]] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        wall, used = time.perf_counter(), time.process_time()
        yield
        seconds[name] = time.perf_counter() - wall, time.process_time() - used

    searched = load_space(space)
    with tempfile.TemporaryDirectory() as folder:
        write_parquet(
            enlarged(read_history(history_files(history)), rows), Path(folder) / "h.parquet"
        )
        with timed("read"):
            read = read_history(history_files(Path(folder)))
        with timed("check"):
            good, bad = check_history(read)
        with timed("prefixes of curves"):
            learned = search_history(good)
        with timed("fit"):
            models = OfflineModels.fit(learned, searched)
        with timed("save"):
            models.save(Path(folder) / "models")
        with timed("first proposal"):
            meta = [column for column in learned if str(column).startswith("meta.")]
            dataset = learned[meta].iloc[0].to_dict()
            Search(searched, offline=models, dataset=dataset, budget=10.0).ask()
    title = f"{len(good)} trials, {len(learned)} rows with prefixes; seconds"
    table = Table("part", "wall clock", "processor", title=title, title_justify="left")
    totals = tuple(map(sum, zip(*seconds.values(), strict=True)))
    for name, pair in [*seconds.items(), ("all", totals)]:
        table.add_row(name, *(f"{value:.1f}" for value in pair))
    Console(width=100).print(table)
    if len(bad):
        raise SystemExit(f"{len(bad)} rows are bad, the first: {bad.iloc[0]['reason']}")


if __name__ == "__main__":
    typer.run(main)
