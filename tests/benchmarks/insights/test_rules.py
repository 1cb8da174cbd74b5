"""Contrasts and verdicts: rules that are true, false and undecidable of a landscape made so."""

from __future__ import annotations

from dataclasses import replace
from math import inf, log10

import numpy as np
import pytest

from benchmarks.insights.contrasts import BestFactor, BestGap, BestRatio, Gap, OwnGap, SlopeGap
from benchmarks.insights.landscape import Landscape
from benchmarks.insights.rules import RULES, Rule, evaluate_rules, verdict
from tests.benchmarks.insights.landscapes import history_of, small_space, unit

FACTOR = 4.0  # by which LoRA's best SFT learning rate is the larger one


def lora_wants_more(config: dict) -> float:
    """Best SFT rate: 5e-4 with full weights, FACTOR times that with LoRA; best RL rate: 3e-5."""
    best = 5e-4 * (FACTOR if config["adapter"] == "lora" else 1.0)
    sft = -(log10(config["sft_learning_rate"] / best) ** 2)
    return sft - 0.2 * log10(config["rl_learning_rate"] / 3e-5) ** 2 - config["rl_temperature"]


def rule(contrast, expected=(0.0, inf)) -> Rule:
    return Rule("r", "claim", "source", 2025, contrast, expected)


def evaluated(score, rules, **options):
    land = Landscape.of(history_of(score, noise=0.02, configurations=80, **options), small_space())
    return evaluate_rules(land, rules)


def test_true_and_false_rules_are_told_apart():
    hot = Gap("rl_temperature >= 0.9", "rl_temperature < 0.9")
    cold = replace(hot, high=hot.low, low=hot.high)
    idle = Gap("rl_num_generations > 4", "rl_num_generations == 4")
    table = evaluated(lora_wants_more, [rule(hot), rule(cold), rule(idle, (0.5, inf))])
    assert table["verdict"].tolist() == ["fails", "holds", "open"]
    assert table["estimate"].iloc[0] == pytest.approx(-table["estimate"].iloc[1])
    assert (table["low"] < table["estimate"]).all()
    assert (table["datasets"] == 6).all()


def test_the_factor_between_the_best_rates_is_found():
    lora, full = 'adapter == "lora"', 'adapter == "full"'
    slope = SlopeGap(lora, full, "sft_learning_rate")
    factor = BestFactor(lora, full, "sft_learning_rate")
    ratio = BestRatio("rl_learning_rate", "sft_learning_rate", full)
    as_good = BestGap(lora, full)
    table = evaluated(
        lora_wants_more,
        [
            rule(slope),
            rule(factor, (log10(2), log10(8))),
            rule(factor, (log10(8), inf)),
            rule(ratio, (-1.8, -0.8)),
            rule(as_good, (-0.5, 0.5)),
        ],
    )
    assert table["verdict"].tolist() == ["holds", "holds", "weaker", "holds", "holds"]
    assert 10 ** table["estimate"].iloc[1] == pytest.approx(FACTOR, rel=0.3)
    assert 10 ** table["estimate"].iloc[3] == pytest.approx(3e-5 / 5e-4, rel=0.4)
    assert table["nothing"].iloc[1] == pytest.approx(0.0, abs=0.1)


def test_the_share_of_a_hyperparameter_is_compared_with_its_stage():
    table = evaluated(
        lambda config: unit(config, "rl_learning_rate"), [rule(OwnGap("rl_learning_rate"))]
    )
    assert table["estimate"].iloc[0] > 0.7
    assert table["verdict"].iloc[0] == "holds"


def test_noise_supports_no_rule():
    rng = np.random.default_rng(1)
    table = evaluated(lambda config: rng.normal(), RULES, datasets=8)
    assert (table["verdict"].isin(["open"])).mean() > 0.7


def test_two_datasets_decide_nothing():
    cold = Gap("rl_temperature < 0.9", "rl_temperature >= 0.9")
    assert evaluated(lora_wants_more, [rule(cold)], datasets=2)["verdict"].tolist() == ["open"]


def test_the_rules_name_sources_and_are_left_out_where_they_cannot_be_asked():
    assert len({r.name for r in RULES}) == len(RULES)
    assert all(r.claim.endswith(".") and r.source and 2010 <= r.year <= 2030 for r in RULES)
    assert all(r.expected[0] < r.expected[1] for r in RULES)
    table = evaluated(lora_wants_more, RULES)
    asked = set(table["rule"])
    varied = set(Landscape.of(history_of(lora_wants_more), small_space()).names)
    assert asked == {r.name for r in RULES if r.contrast.needs <= varied}
    assert 5 <= len(asked) < len(RULES)


def test_names_in_expressions_are_told_from_values_and_methods():
    gap = Gap("sft_batch_size >= sft_batch_size.quantile(0.67)", 'kind in ["dapo", "x_y"]')
    assert gap.needs == {"sft_batch_size", "kind"}


@pytest.mark.parametrize(
    ("interval", "expected", "nothing", "found"),
    [
        ((0.1, 0.3), (0.0, inf), 0.0, "holds"),
        ((-0.1, 0.3), (0.0, inf), 0.0, "open"),
        ((-0.3, -0.1), (0.0, inf), 0.0, "fails"),
        ((0.2, 0.4), (0.7, 1.2), 0.0, "weaker"),
        ((-0.1, 0.4), (0.7, 1.2), 0.0, "open"),
        ((1.3, 1.4), (0.7, 1.2), 0.0, "fails"),
        ((-0.4, -0.2), (-1.2, -0.7), 0.0, "weaker"),
        ((float("nan"), float("nan")), (0.0, inf), 0.0, "open"),
    ],
)
def test_verdicts(interval, expected, nothing, found):
    assert verdict(interval, expected, nothing) == found
