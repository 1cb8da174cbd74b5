"""Curves and timelines: what is wrong with a packed cell, whatever is in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.history.curves import curve_problems, timeline_problems, unpack_curve
from trials.outcomes.signals import signals_of
from trials.spec.plan import StagePlan


@pytest.mark.parametrize(
    ("curve", "problem"),
    [
        ('{"sft/loss":[[1,1],[1,1]]}', "step 1 follows step 1"),
        ('{"sft/loss":[[1,2],[1]]}', "2 steps and 1 values"),
        ('{"warm/loss":[[1],[1]]}', "not one of sft, dpo, rl"),
        ('{"sft/loss":[[0],[1]]}', "starts at step 0"),
        ('{"rl/score":[[1],[NaN]]}', "not finite"),
        ("[1]", "curve is not"),
        ('{"sft/loss":3}', "curve is not"),
    ],
)
def test_broken_curves_are_described(curve, problem):
    [found] = curve_problems(curve)
    assert problem in found


def test_curves_of_two_stages_and_losses_that_are_no_number_are_fine():
    assert curve_problems('{"sft/loss":[[1,2],[1,NaN]],"rl/loss":[[3],[1]]}') == []
    assert curve_problems("") == curve_problems(None) == []


@pytest.mark.parametrize(
    ("timeline", "problem"),
    [
        ("[1,2]", "timeline is not"),
        ('{"a":1}', "timeline is not"),
        ("not JSON", "timeline is not"),
        ("[[1,2],[1],[1,2]]", "2 steps, 1 seconds, 2 FLOPs"),
        ("[[2,2],[1,2],[1,2]]", "steps do not rise"),
        ("[[1,2],[3,2],[1,2]]", "seconds fall"),
        ("[[1,2],[1,2],[1,NaN]]", "FLOPs are not all finite"),
        ("[[1,2],[-1,2],[1,2]]", "seconds are not all finite and 0 or more"),
    ],
)
def test_a_timeline_that_cannot_be_is_named(timeline, problem):
    [found] = timeline_problems(timeline)
    assert problem in found


def test_a_timeline_may_be_empty_and_stand_still():
    assert timeline_problems("") == timeline_problems(None) == []
    assert timeline_problems("[[1,2],[0.5,0.5],[1e9,1e9]]") == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["sft/loss", "rl/score", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_described_and_what_passes_can_be_read(content):
    text = json.dumps(content)
    timeline_problems(text)
    if not curve_problems(text):
        signals = signals_of(unpack_curve(text), 10, StagePlan(50, 0, 50))
        assert all(abs(value) < 1e300 for value in signals.values())


@given(st.text())
def test_any_text_is_described(text):
    for problems in (curve_problems(text), timeline_problems(text)):
        assert all(len(problem) < 500 for problem in problems)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"b":'])
def test_depth_is_bounded(opening):
    [problem] = curve_problems(opening * 100_000)
    assert problem.endswith("nested too deeply")


@pytest.mark.parametrize("first", ["NaN", "1", "Infinity"])
@pytest.mark.parametrize("wrong", ["-1e200", "1e200", "-Infinity"])
def test_a_value_beyond_the_bound_is_found_behind_any_other(first, wrong):
    text = f'{{"sft/loss":[[1,2,3],[{first},{wrong},2]]}}'
    assert curve_problems(text) == ["curve sft/loss: a value is beyond 1e+30"]
