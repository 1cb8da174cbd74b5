"""The offline models of the whole history, saved as files, with a summary of their training."""

from __future__ import annotations

from typing import Any

import pandas as pd

from surrogates.evaluation.leave_one_out import variant_name
from surrogates.offline.models import OfflineModels
from tasks.config.paths import OfflineFolder
from tasks.config.replace import replace_folder
from tasks.config.steps import step
from tasks.history.rows import search_history
from tasks.inputs.spaces import load_space
from tasks.offline.feature_groups import learned_features
from tasks.offline.features import read_features, with_features
from tasks.output.numbers import round_floats
from trials.io.atomic import draft_of
from trials.io.errors import SettingsError
from trials.spec.records import write_json


@step
def train(space: str, seed: int, output: OfflineFolder) -> OfflineModels:
    """Fits the models as the search would, and writes ``models/`` and ``training.json``.

    Raises:
        SettingsError: an earlier step has not run.
        HistoryError: the history lacks a column.
    """
    rows = learned_features(past_trials(output))
    models = OfflineModels.fit(rows, load_space(space), seed)
    draft = draft_of(output.models)
    models.save(draft)
    trained = output.training.exists()  # here before, perhaps with other names
    replace_folder(draft, output.models, own=lambda path: trained)
    write_json(output.training, round_floats(learned(rows, models)))
    return models


def past_trials(output: OfflineFolder) -> pd.DataFrame:
    """The history checked, featurized, with prefixes of curves.

    Raises:
        SettingsError: the step `validate` or `featurize` has not run.
    """
    for file, maker in ((output.checked, "validate"), (output.features, "featurize")):
        if not file.exists():
            raise SettingsError(
                f"{file} is missing\n  make it with: python -m flows.offline {maker}"
            )
    rows = pd.read_parquet(output.checked)
    return search_history(with_features(rows, read_features(output.features)))


def trained(output: OfflineFolder) -> OfflineModels:
    """The models that `train` saved.

    Raises:
        SettingsError: there are none.
    """
    if not (output.models / "offline.json").exists():
        raise SettingsError(
            f"no models in {output.models}\n  make them with: python -m flows.offline train"
        )
    return OfflineModels.load(output.models)


def chosen_name(models: OfflineModels) -> str:
    """The ranker's name in tables; "none" without one."""
    if models.ranker is None:
        return "none"
    variant = models.ranker.variant
    return variant_name(variant.loss, bool(variant.meta))


def learned(rows: pd.DataFrame, models: OfflineModels) -> dict[str, Any]:
    """The models and their training data as numbers for `dvc metrics show`."""
    full = rows["fraction"] >= 1.0
    failed = rows["state"] == "failed"
    done = full & ~failed
    prior, early = models.mean_prior, models.early
    return {
        "rows": {
            "trials": int(done.sum()),
            "failed": int(failed.sum()),
            "prefixes": int((~full & ~failed).sum()),
            "datasets": int(rows.loc[done, "dataset_id"].nunique()),
        },
        "ranker": {
            "chosen": chosen_name(models),
            "kendall_tau": models.ranker.skill.kendall_tau if models.ranker else 0.0,
            "trusted": prior.rho if prior else 0.0,
        },
        "early": {
            f"{r.fraction:g}".replace(".", "_"): {"explained": r.explained, "believed": r.shrink}
            for r in (early.rungs if early else [])
        },
        "cost": {"fitted": int(models.cost is not None)},
    }
