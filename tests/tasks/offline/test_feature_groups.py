"""Which meta-features the offline models learn from."""

import pandas as pd

from tasks.offline.feature_groups import DROPPED, GROUPS, OTHER, groups_of, learned_features

ROW = pd.DataFrame(
    {
        "score": [0.5],
        "meta.log_rows": [3.0],
        "meta.probe_loss": [1.0],
        "meta.pass_at_8": [0.2],
        "meta.ours": [7],
    }
)


def test_every_feature_is_in_one_group_and_those_of_a_team_are_in_none_of_ours():
    groups = groups_of(["log_rows", "base_score", "pass_at_1", "model_layers", "ours"])
    assert groups == {
        "text": ("log_rows",),
        "probes": ("base_score",),
        "rewards": ("pass_at_1",),
        "model": ("model_layers",),
        OTHER: ("ours",),
    }


def test_groups_without_a_feature_are_left_out():
    assert groups_of(["pass_at_1"]) == {"rewards": ("pass_at_1",)}


def test_dropped_groups_are_not_learned_from_and_a_teams_own_features_are():
    assert set(DROPPED) <= set(GROUPS)
    assert set(learned_features(ROW)) == {"score", "meta.probe_loss", "meta.ours"}
    assert learned_features(ROW[["score"]]).equals(ROW[["score"]])
