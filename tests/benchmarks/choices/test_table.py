from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.choices.table import rows_of
from benchmarks.choices.trials import Job, best_configs, missing
from benchmarks.choices.variants import GROUPS
from trials.spec.combinations import rollout_settings
from trials.spec.hyperparameters import validate

DATASETS = ("chain_sum", "decimal_sum")


@pytest.mark.parametrize("group", GROUPS)
def test_every_variant_is_a_configuration_of_its_own(group: str) -> None:
    jobs = [Job(group, name, "chain_sum", "tiny-1m", 0, 0) for name in GROUPS[group].variants]
    found = [validate(job.config()) for job in jobs]
    assert len({h.model_dump_json() for h in found}) == len(found)
    if group == "rollouts":
        assert [bool(rollout_settings(h)) for h in found] == [False] + [True] * (len(found) - 1)


def test_configurations_are_the_best_of_the_history() -> None:
    first, second, *_ = best_configs("chain_sum", "tiny-1m")
    assert first != second
    assert "sft_learning_rate" in first


def test_gains_are_paired_and_their_error_is_over_datasets(tmp_path: Path) -> None:
    """Of two datasets with gains of 0.1 and 0.3 the 95 % interval is 0.2 +- 12.7 x 0.1."""
    scores = {
        ("linear", "chain_sum", 0): 0.2,
        ("linear", "chain_sum", 1): 0.6,
        ("linear", "decimal_sum", 0): 0.1,
        ("rex", "chain_sum", 0): 0.4,
        ("rex", "chain_sum", 1): 0.6,
        ("rex", "decimal_sum", 0): 0.4,
        ("cosine", "chain_sum", 1): 0.5,
    }
    jobs = [Job("schedules", v, d, "tiny-1m", 0, seed) for v, d, seed in scores]
    assert missing(tmp_path, jobs) == jobs
    for job, score in zip(jobs, scores.values(), strict=True):
        file = job.file(tmp_path)
        file.parent.mkdir(parents=True, exist_ok=True)
        flops = 2e9 if job.variant == "rex" else 1e9
        file.write_text(json.dumps({"score": score, "flops": flops}))
    assert missing(tmp_path, jobs) == []
    rex, linear, cosine = rows_of("schedules", jobs, tmp_path)
    assert [row.variant for row in (rex, linear, cosine)] == ["rex", "linear", "cosine"]
    assert (rex.datasets, rex.pairs, rex.cost) == (2, 3, 2.0)
    assert rex.gain == pytest.approx(0.2)
    assert rex.error == pytest.approx(12.706 * 0.1, rel=1e-3)
    assert (linear.gain, linear.error) == (0.0, 0.0)
    assert cosine.gain == pytest.approx(-0.1)
    assert cosine.error != cosine.error  # one dataset has no spread
