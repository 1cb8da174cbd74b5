"""The table of meta-features of the datasets and models of the history.

One row per dataset and model, for those that can be built and loaded here. All are measured in the
same way, so that rows of older runs are described in the same way as the dataset at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from surrogates.history.table import META
from tasks.config.paths import OfflineFolder, cache_folder
from tasks.config.progress import Report, silent
from tasks.config.steps import step
from tasks.history.rows import records
from tasks.inputs.catalog import ModelEntry, resolve_model
from tasks.inputs.featurize import Refusal, meta_features, probe_all
from tasks.inputs.prepare import probe_request
from tasks.output.csv_tables import read_csv, write_csv
from tasks.output.numbers import FLOAT_FORMAT
from trials.data.dataset import fingerprint, load_dataset
from trials.models.fingerprints import model_fingerprint
from trials.process.launch import Launcher
from trials.process.supervisor import Supervisor
from trials.spec.records import Schedule

# Content of data and of weights; the latter is empty in older rows, imported ones and a hub's.
MATCHED = ["dataset_fingerprint", "model_id", "model_fingerprint"]
KEYS = ["dataset_fingerprint", "dataset_id", "model_id", "model_fingerprint"]
# The same numbers on every machine: a GPU draws other samples, and threads add in another order.
SAME_EVERYWHERE = Launcher(threads=1, devices="")


@step
def featurize_history(
    built: Path,
    models: Mapping[str, ModelEntry],
    output: OfflineFolder,
    report: Report = silent,
    launcher: Launcher = SAME_EVERYWHERE,
) -> list[str]:
    """Measures the datasets and models of the checked history that are here: ``features.csv``.

    Built datasets are identified by their fingerprint, models by their name.

    Returns:
        A sentence for each pair that keeps the meta-features of its own rows.

    Raises:
        CatalogError: a model of the catalog is not there.
        AutoPipeError: the measuring process crashed.
    """
    rows = keys_of(pd.read_parquet(output.checked))
    pairs = rows.drop_duplicates().sort_values(["model_id", *KEYS], ignore_index=True)
    places = {fingerprint(path): path for path in sorted(built.glob("*")) if path.is_dir()}
    named = sorted(set(pairs["model_id"]) & set(models))
    folders = {name: resolve_model(name) for name in named}
    cache = cache_folder() / "fingerprints"
    weights = {name: model_fingerprint(folder, cache) for name, folder in folders.items()}
    noted = pairs["model_fingerprint"]
    same = (
        (noted == "") | ~pairs["model_id"].isin(named) | (noted == pairs["model_id"].map(weights))
    )
    here = pairs["dataset_fingerprint"].isin(list(places)) & pairs["model_id"].isin(named) & same
    known = records(pairs[here])
    paths = [places[pair["dataset_fingerprint"]] for pair in known]
    requests = [
        probe_request(path, folders[pair["model_id"]], Schedule())
        for path, pair in zip(paths, known, strict=True)
    ]
    probes = [cache_folder() / "probes" / pair["dataset_fingerprint"] for pair in known]
    with Supervisor(launcher) as measurer:
        answers = probe_all(
            requests, probes, measurer, lambda done, total: report("probes", done, total)
        )
    left = [f"{_name(pair)}: not built or loaded here" for pair in records(pairs[same & ~here])]
    left += [f"{_name(pair)}: other weights than those here" for pair in records(pairs[~same])]
    measured = []
    for path, pair, answer in zip(paths, known, answers, strict=True):
        if isinstance(answer, Refusal):
            left.append(f"{_name(pair)}: {answer}")
        else:
            measured.append(pair | meta_features(load_dataset(path), answer))
    write_features(pd.DataFrame(measured, columns=None if measured else KEYS), output.features)
    return left


def keys_of(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns that identify data and model; an unknown fingerprint of weights is ""."""
    keys = rows.reindex(columns=KEYS).astype(object)
    return keys.fillna({"model_fingerprint": ""})


def _name(pair: Mapping[str, object]) -> str:
    return f"{pair['dataset_id']} with {pair['model_id']}"


def write_features(table: pd.DataFrame, file: Path) -> None:
    """Writes the table: keys, then features by name, rows sorted, six significant digits."""
    names = sorted(str(column) for column in table if column not in KEYS)
    ordered = table[[*KEYS, *names]].sort_values(KEYS, ignore_index=True)
    write_csv(ordered, file, FLOAT_FORMAT)


def read_features(file: Path) -> pd.DataFrame:
    """The table; empty without a file."""
    if not file.exists():
        return pd.DataFrame(columns=KEYS)
    # As text: a fingerprint may look like a number, and a dataset may be called "null".
    keys = dict.fromkeys(KEYS, str)
    table = read_csv(file, dtype=keys, keep_default_na=False, na_values=[""])
    return table.fillna({"model_fingerprint": ""})


def with_features(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a history, in their order, with the meta-features of the table.

    A row whose data and model are in the table has the table's meta-features and no others; another
    one keeps its own. Columns that are then nowhere filled are dropped.
    """
    if table.empty or not {"dataset_fingerprint", "model_id"} <= set(rows):
        return rows
    known = table.drop_duplicates(MATCHED).set_index(MATCHED).drop(columns="dataset_id")
    pairs = pd.MultiIndex.from_frame(keys_of(rows)[MATCHED].astype(str))
    found = known.add_prefix(META).reindex(pairs).set_index(rows.index)
    own = rows[[column for column in rows if str(column).startswith(META)]]
    matched = pd.Series(pairs.isin(known.index), index=rows.index)
    meta = found.reindex(columns=sorted({*found, *own}))
    meta[own.columns] = meta[own.columns].where(matched, own)
    rest = rows.drop(columns=own.columns)
    return pd.concat([rest, meta.dropna(axis="columns", how="all")], axis="columns")
