from __future__ import annotations

import json

import pandas as pd
import pytest

from benchmarks.stops import Trial, table_of, trials_of
from trials.spec.kinds import StopRule


def row(scores: dict[int, float], **more: object) -> dict[str, object]:
    """A trial of 60 steps, 20 of them SFT, whose rewards stay the same."""
    sft = [(s, v) for s, v in scores.items() if s <= 20]
    rl = [(s, v) for s, v in scores.items() if s > 20]
    curve = {
        "sft/loss": [[1, 20], [1.0, 0.5]],
        "sft/score": [list(part) for part in zip(*sft, strict=True)],
        "rl/reward": [list(range(21, 61)), [0.5] * 40],
        "rl/score": [list(part) for part in zip(*rl, strict=True)],
    }
    return {
        "dataset_id": "d", "model_id": "m", "state": "completed", "fraction": 1.0,
        "score": scores[60], "score_se": 0.03, "total_steps": 60, "config.sft_share": 1 / 3,
        "curve": json.dumps(curve), **more,
    }  # fmt: skip


def test_a_drop_is_found_where_the_trial_was_scored() -> None:
    rows = pd.DataFrame(
        [
            row({20: 0.6, 30: 0.3, 60: 0.3}),
            row({20: 0.6, 30: 0.3, 60: 0.7}),
            row({20: 0.6, 30: 0.58, 60: 0.2}),  # at its end there is nothing left to stop
            row({20: 0.6, 30: 0.3, 60: 0.3}, fraction=0.5),
        ]
    )
    lost, recovered, late = trials_of(rows)
    assert lost.fired == recovered.fired == {StopRule.HELDOUT_DROP: 0.5}
    assert late.fired == {}
    assert (lost.lost, recovered.lost, late.lost) == (True, False, True)


@pytest.mark.parametrize(
    ("right", "wrong", "best", "expected"), [(9, 1, 0, "yes"), (8, 2, 0, "no"), (9, 1, 1, "no")]
)
def test_a_rule_earns_its_right_to_stop(right: int, wrong: int, best: int, expected: str) -> None:
    fired = {StopRule.TRUNCATION: 0.5}
    trials = [Trial(("d", "m"), 0.3, 0.6, 0.05, fired) for _ in range(right)]
    trials += [Trial(("d", "m"), 0.6, 0.6, 0.05, fired) for _ in range(wrong)]
    trials += [Trial(("d", "m"), 0.6 if best else 0.9, 0.5, 0.05, {})]
    table = table_of(trials)
    cells = [[*column.cells] for column in table.columns]
    place = cells[0].index("truncation")
    assert cells[1][place] == "10"
    assert cells[-1][place] == expected
