"""The offline prior mean: a blend of the ranker and the mean of past tasks' own models.

The ranker sees meta-features and learns steps and choices well; the mean of Gaussian processes is
better where scores are smooth in the configuration. How much each counts is decided on the
datasets that were held out, as everything else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from surrogates.core.metrics import standard_scores
from surrogates.history.outcomes import Trials, dataset_means, evaluate_predictions
from surrogates.offline.past_tasks import PastTasks
from surrogates.offline.ranker import Ranker, RankerSkill

SHARES = (0.0, 0.5, 1.0)
MIN_TAU_GAIN = 0.01  # a share of the past tasks' mean must gain so much Kendall tau


@dataclass(frozen=True)
class Blend:
    """m(x) = (1 - share) ranker(x) + share mean_h f_h(x), each standardised over the space."""

    share: float = 0.0
    skill: RankerSkill = field(default_factory=RankerSkill)
    """Of the blend on held-out datasets."""

    @classmethod
    def of(cls, ranker: Ranker, past: PastTasks | None, trials: Trials) -> Blend:
        """The share with the best held-out Kendall tau; the ranker alone unless more is gained.

        Args:
            ranker: With its predictions for the held-out trials.
            past: The past tasks' models. Those of a trial's own dataset say nothing of it; their
                kernel alone has seen it.
            trials: That both were fitted to.
        """
        alone = cls(0.0, ranker.skill)
        known = np.flatnonzero(np.isfinite(ranker.out_of_fold))
        names = np.unique(trials.dataset[known])
        if past is None or len(names) < 2:
            return alone
        parts = leave_one_dataset_out_mean(past, trials, known)
        ranked, trials = ranker.out_of_fold[known], trials.subset(known)
        masks = [trials.dataset == name for name in names]
        best, tau = alone, ranker.skill.kendall_tau
        for share in SHARES[1:]:
            both = mix(share, ranked, parts, trials.group)
            table = evaluate_predictions(trials, both, masks)
            reached = float(dataset_means(table)["kendall_tau"].mean())
            if reached > tau + MIN_TAU_GAIN:
                best, tau = cls(share, RankerSkill.of(table, several=True)), reached
        return best

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"share": self.share, "skill": asdict(self.skill)}

    @classmethod
    def from_dict(cls, payload: dict[str, Any]) -> Blend:
        """Inverse of `to_dict`."""
        return cls(payload["share"], RankerSkill(**payload["skill"]))


def leave_one_dataset_out_mean(
    past: PastTasks, trials: Trials, rows: np.ndarray | slice = slice(None)
) -> np.ndarray:
    """Mean over the past tasks of other datasets, for n of the trials, (n,); 0 without any."""
    datasets = dict(zip(trials.group, trials.dataset, strict=True))
    owners = np.array([datasets.get(task.name) for task in past.tasks], dtype=object)
    others = owners[:, None] != trials.dataset[None, rows]
    predicted = past.predict(trials.cube[rows]) * others
    return predicted.sum(axis=0) / np.maximum(others.sum(axis=0), 1)


def mix(share: float, ranked: np.ndarray, mean: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The blend of n predictions, each kind standardised within its group, shape (n,)."""
    out = np.zeros(len(ranked))
    for name in np.unique(group):
        rows = group == name
        out[rows] = (1.0 - share) * standard_scores(ranked[rows]) + share * standard_scores(
            mean[rows]
        )
    return out
