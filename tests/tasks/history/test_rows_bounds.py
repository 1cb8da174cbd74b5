"""Whatever a history holds, the check survives it, and no model sees what is beyond measure."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from surrogates.core.base import HistoryError
from surrogates.offline.models import OfflineModels
from surrogates.online.search import Search
from tasks.history.checks import append_checked, check_history
from tasks.history.rows import read_history, search_history
from tasks.inputs.spaces import load_space
from tests.histories import bundled
from tests.tasks.history.test_checks import row

EXTREME = [
    *(1e200, -1e200, 1e308, float("inf"), float("-inf"), 2**62, -1, 0, True, np.float32(3), b"x"),
    *("=cmd|' /C calc'!A0", "</script>", "[" * 100_000, "{" * 3, "9" * 6000, "\x00", "x" * 300_000),
    *([1, 2], {"a": 1}, np.array([1.0, 2.0]), decimal.Decimal("1e400"), complex(1, 2), object()),
    *(datetime.datetime(2026, 1, 1), pd.Timestamp("2026-01-01"), pd.NaT, pd.NA, None, float("nan")),
]
COLUMNS = [*row(), "config.lora_rank", "config.unknown", "meta.base_score", "signal.rl_kl",
           "timeline", "versions", "stop_rule", "git_commit", "model_fingerprint"]  # fmt: skip


@settings(max_examples=4, deadline=None)
@example([{"fraction": complex(1, 2)}])
@given(
    st.lists(
        st.dictionaries(st.sampled_from(COLUMNS), st.sampled_from(EXTREME), max_size=3),
        min_size=1,
        max_size=4,
    )
)
def test_any_cells_are_parted_into_good_and_bad(changes):
    rows = [row(0, **{"meta.base_score": 0.1})]
    rows += [row(number, **change) for number, change in enumerate(changes, start=1)]
    good, bad = check_history(pd.DataFrame(rows))
    assert len(good) + len(bad) == len(rows)
    assert all(0 < len(reason) < 1100 for reason in bad["reason"])
    search_history(good)


def test_a_value_in_any_column_of_any_type_is_good_or_bad():
    """As parquet gives it: NA of its own types where a writer noted them, empty times as NaT."""
    cells = [(column, value) for value in (pd.NaT, pd.NA, 3, "") for column in COLUMNS]
    rows = pd.DataFrame(
        [row(0), *(row(n, **{column: value}) for n, (column, value) in enumerate(cells, start=1))]
    )
    for frame in (rows, rows.convert_dtypes()):
        good, bad = check_history(frame)
        assert len(good) + len(bad) == len(rows)
        search_history(good)


@pytest.mark.parametrize("empty", [pd.NaT, pd.NA])
def test_an_empty_column_of_any_type_is_an_empty_column(empty):
    columns = dict.fromkeys(("cost_seconds", "fraction", "continued"), empty)
    rows = pd.DataFrame([row(n, **columns) for n in range(3)])
    good, bad = check_history(rows)
    assert bad.empty, list(bad["reason"])
    assert len(search_history(good)) > 0


def test_a_poisoned_row_ends_nothing_and_is_kept_with_its_reason(tmp_path):
    poison = {"score": 1e200, "curve": "[" * 100_000}
    file, bad = append_checked([row(1), row(2, **poison)], tmp_path, "r")
    [kept] = pd.read_parquet(tmp_path / "quarantine" / "r.parquet").to_dict("records")
    assert "score is not a finite number between" in kept["reason"]
    assert kept["score"] == 1e200
    assert len(read_history([file])) == len(bad) == 1


def test_a_score_beyond_measure_never_reaches_a_model():
    rows = bundled("chain_sum")
    learned = search_history(check_history(rows)[0])
    learned.loc[3, "score"] = 1e200
    with pytest.raises(HistoryError, match=r"row 3 .*1e\+200"):
        OfflineModels.fit(learned, load_space("sft_grpo"))


def test_the_largest_scores_that_pass_fit_and_propose():
    """Within the bounds, among too few others to be called outliers."""
    rows = bundled("chain_sum", trials=7)
    rows.loc[1, "score"], rows.loc[2, "score"] = -9.9e8, 9.9e8
    rows.loc[3, "meta.base_score"] = 1e29
    rows.loc[4, "config.max_grad_norm"] = 1e300
    good, bad = check_history(rows)
    assert bad.empty, bad["reason"].tolist()
    search = Search(load_space("sft_grpo"), history=search_history(good), dataset={"log_rows": 3.0})
    for _ in range(3):
        [proposal] = search.ask()
        search.tell(proposal.id, 0.5, fraction=proposal.fraction)


def test_what_is_far_from_its_own_kind_is_an_outlier():
    rows = [row(number, score=0.3 + 0.02 * number) for number in range(12)]
    rows[3] |= {"score": 57.0}
    rows[5] |= {"cost_seconds": 20_000.0 * 20}
    rows[7] |= {"score": 0.0}
    rows[8] |= {"cost_seconds": 20_000.0 * 20, "continued": True}
    _, bad = check_history(pd.DataFrame(rows))
    assert bad["trial_id"].tolist() == ["r/d/003", "r/d/005"]
    assert "score 57 is far from those of d with m" in bad["reason"].iloc[0]
    assert "cost_seconds" in bad["reason"].iloc[1]


def test_one_word_does_not_make_names_of_numbers():
    rows = [row(number, **{"meta.log_rows": 3.0, "meta.kind": "maths"}) for number in range(4)]
    rows[2] |= {"meta.log_rows": "many"}
    _, bad = check_history(pd.DataFrame(rows))
    assert bad["reason"].tolist() == ["meta.log_rows is not a number, but 'many'"]


def test_losses_and_rewards_of_any_size_are_no_outliers():
    datasets = ([0.0] * 11 + [0.7], [-2.1, -1.9] * 5 + [-60.0] * 2, [120.0, 4000.0] * 6)
    rows = [
        row(12 * dataset + number, score=score, dataset_id=f"d{dataset}")
        for dataset, scores in enumerate(datasets)
        for number, score in enumerate(scores)
    ]
    assert check_history(pd.DataFrame(rows))[1].empty


def test_a_continued_trial_may_cost_nothing():
    """It shared the whole beginning of another."""
    free = {"cost_seconds": 0.0, "cost_flops": 0.0, "cost_tokens": 0}
    _, bad = check_history(pd.DataFrame([row(1, continued=True, **free), row(2, **free)]))
    assert bad["trial_id"].tolist() == ["r/d/002"]


def test_a_file_with_a_column_twice_is_quarantined_row_by_row(tmp_path):
    table = pa.Table.from_pylist([row(1)])
    twice = table.append_column("score", pa.array([0.9]))
    pq.write_table(twice, tmp_path / "twice.parquet")
    pq.write_table(pa.Table.from_pylist([row(2)]), tmp_path / "one.parquet")
    rows = read_history(sorted(tmp_path.glob("*.parquet")))
    good, bad = check_history(rows)
    assert good["trial_id"].tolist() == ["r/d/002"]
    assert "two columns are named score" in bad["reason"].iloc[0]
    assert list(good.columns) == list(read_history([tmp_path / "one.parquet"]).columns)


def test_what_changed_in_mid_run_is_quarantined(tmp_path):
    columns = ["dataset_fingerprint", "model_fingerprint"]
    rows = [row(number, **{"model_fingerprint": "w" * 16}) for number in range(4)]
    for changed, column in zip(rows[2:], columns, strict=True):
        changed[column] = "other"
    file, bad = append_checked(rows, tmp_path, "r", one_run=True)
    assert len(read_history([file])) == 2
    for column, reason in zip(columns, bad["reason"], strict=True):
        assert f"{column} is not that of the run's first trial" in reason
    assert check_history(pd.DataFrame(rows))[1].empty  # of several runs, these are versions
