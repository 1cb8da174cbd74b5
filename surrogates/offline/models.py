"""All that is learned before the first trial: ranker, early predictor, cost model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from catboost import CatBoostError
from ConfigSpace import ConfigurationSpace

from surrogates.core.base import HistoryError, OptionError
from surrogates.gp.fit import MeanPrior
from surrogates.history.table import META, History, read_history
from surrogates.offline.agreement import Pair, agreements
from surrogates.offline.cost import CostModel
from surrogates.offline.early import EarlyPredictor
from surrogates.offline.ranker import Ranker
from surrogates.space.encoding import SpaceEncoder

MIN_RHO = 0.05


@dataclass
class OfflineModels:
    """Models fitted to the history; each is None where the history is too thin for it."""

    columns: tuple[str, ...]
    """Configuration columns of the space they were fitted for."""
    maximize: bool
    ranker: Ranker | None = None
    early: EarlyPredictor | None = None
    cost: CostModel | None = None
    level: float = float("nan")
    """Median over past tasks of their mean final score, more is better."""
    scale: float = float("nan")
    """Median over past tasks of the standard deviation of final scores."""
    failure_cube: np.ndarray | None = None
    """`t x d` encoded past trials (at most 500), for the failure model."""
    failure_flags: np.ndarray | None = None
    agreements: Mapping[Pair, tuple[float, ...]] = field(default_factory=dict)
    """Correlations of pairs of models on past datasets, where they were asked for."""

    @classmethod
    def fit(
        cls,
        history: pd.DataFrame,
        space: ConfigurationSpace,
        seed: int = 0,
        *,
        maximize: bool = True,
        use_meta: bool = True,
        pairs: Sequence[Pair] = (),
    ) -> OfflineModels:
        """Fit everything the history allows.

        Args:
            history: See `surrogates.history.table.read_history` for its columns.
            space, seed, maximize: As for the search.
            use_meta: False leaves the `meta.*` columns out (a new dataset without meta-features
                cannot be placed among the others by them).
            pairs: Names of models, the smaller one first, whose agreement is wanted.

        Raises:
            HistoryError: The table lacks a required column.
        """
        encoder = SpaceEncoder(space)
        rows = read_history(history, encoder, maximize)
        if rows is None:
            return cls(encoder.columns, maximize)
        agreed = agreements(rows, encoder, pairs)
        if not use_meta:
            for column in rows.columns(META):
                del rows.table[column]
        try:
            ranker: Ranker | None = Ranker.fit(rows, encoder, seed)
        except (HistoryError, CatBoostError):  # nothing to order: the search does without
            ranker = None
        scales = rows.group_scales()
        spread = scales["std"][scales["std"] > 0]
        cube, flags = _failures(rows, encoder, seed)
        return cls(
            encoder.columns,
            maximize,
            ranker,
            EarlyPredictor.fit(rows, encoder, seed),
            CostModel.fit(rows, encoder, seed),
            float(scales["mean"].median()) if len(scales) else float("nan"),
            float(spread.median()) if len(spread) else float("nan"),
            cube,
            flags,
            agreed,
        )

    @property
    def mean_prior(self) -> MeanPrior | None:
        """Trust in the prior mean on a new dataset, from its held-out skill.

        The mean correlation counts by its lower 95 % bound, so that luck is not taken for skill;
        with a single past dataset nothing was held out across datasets, and the skill within it
        counts for less than half.
        """
        if self.ranker is None:
            return None
        skill = self.ranker.skill
        if skill.datasets < 2:
            rho, sd = 0.4 * skill.pearson, 0.35
        else:
            rho = skill.pearson - 1.645 * skill.pearson_se
            sd = float(np.clip(skill.pearson_sd, 0.2, 0.4))
        return MeanPrior(min(rho, 0.95), sd) if rho >= MIN_RHO else None

    def check(self, encoder: SpaceEncoder, maximize: bool) -> None:
        """Refuse models of another space or direction.

        Raises:
            OptionError: They do not fit this search.
        """
        if self.columns != encoder.columns:
            raise OptionError(
                f"offline models were fitted for {list(self.columns)}, the space has "
                f"{list(encoder.columns)}. Fit them again: OfflineModels.fit(history, space)."
            )
        if self.maximize != maximize:
            raise OptionError(
                f"offline models were fitted with maximize={self.maximize}, the search has "
                f"maximize={maximize}. Fit them again with the same direction."
            )

    def save(self, folder: str | Path) -> None:
        """Write `offline.json` and the models (.cbm, JSON); the same models give the same bytes."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        parts = {"ranker": self.ranker, "early": self.early, "cost": self.cost}
        for part in parts.values():
            if part is not None:
                part.save(folder)
        payload = {
            "columns": list(self.columns),
            "maximize": self.maximize,
            "parts": [name for name, part in parts.items() if part is not None],
            "level": self.level,
            "scale": self.scale,
            "failure_cube": None if self.failure_cube is None else self.failure_cube.tolist(),
            "failure_flags": None if self.failure_flags is None else self.failure_flags.tolist(),
            "agreements": [[*pair, list(found)] for pair, found in self.agreements.items()],
        }
        (folder / "offline.json").write_text(json.dumps(payload))

    @classmethod
    def load(cls, folder: str | Path) -> OfflineModels:
        """Inverse of `save`; predictions are bit-equal."""
        folder = Path(folder)
        payload = json.loads((folder / "offline.json").read_text())
        parts = payload["parts"]
        cube, flags = payload["failure_cube"], payload["failure_flags"]
        return cls(
            tuple(payload["columns"]),
            payload["maximize"],
            Ranker.load(folder) if "ranker" in parts else None,
            EarlyPredictor.load(folder) if "early" in parts else None,
            CostModel.load(folder) if "cost" in parts else None,
            payload["level"],
            payload["scale"],
            None if cube is None else np.array(cube),
            None if flags is None else np.array(flags, dtype=bool),
            {(a, b): tuple(found) for a, b, found in payload.get("agreements", [])},
        )


def _failures(
    rows: History, encoder: SpaceEncoder, seed: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Past trials, encoded, and whether each failed; None where none did."""
    if not rows.failed.any():
        return None, None
    _, first = np.unique(rows.trial.astype(str), return_index=True)
    bad = set(rows.trial[rows.failed].tolist())
    keep = np.sort(first)
    if len(keep) > 500:
        keep = np.sort(np.random.default_rng(seed).choice(keep, 500, replace=False))
    flags = np.array([rows.trial[i] in bad for i in keep])
    return encoder.matrix([rows.configs[i] for i in keep]), flags
