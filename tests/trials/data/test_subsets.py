from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trials.data.subsets import nested_share
from trials.spec.hyperparameters import validate
from trials.spec.plan import plan_steps, rows_in_share
from trials.spec.records import Schedule


@given(count=st.integers(1, 200), shares=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)))
def test_a_larger_share_holds_a_smaller_one_in_their_order(
    count: int, shares: tuple[float, float]
) -> None:
    rows = list(range(count))
    small, large = (nested_share(rows, share) for share in sorted(shares))
    assert set(small) <= set(large)
    assert small == sorted(small)
    assert len(small) == rows_in_share(count, min(shares)) >= 1
    assert nested_share(rows, 1.0) == rows


def test_an_epoch_of_sft_is_one_of_the_rows_that_it_sees() -> None:
    h = validate({"sft_epochs": 2, "sft_rows_share": 0.25, "sft_batch_size": 5, "rl_steps": 0})
    assert plan_steps(h, Schedule(), rows=100, pairs=0).sft == 10
