"""The field's rules of thumb as contrasts, tested on the history.

A rule says in which range the answer to its contrast lies. Every dataset gives one answer, the mean
over its models; the 95 % interval of their mean decides (`verdict`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log10
from typing import Literal

import pandas as pd
from scipy import stats

from benchmarks.insights.contrasts import (
    BestFactor,
    BestGap,
    BestRatio,
    Contrast,
    Gap,
    OwnGap,
    SlopeGap,
)
from benchmarks.insights.landscape import Landscape
from benchmarks.insights.spread import interval95, mean_se

MIN_DATASETS = 3  # fewer decide nothing
POSITIVE, NEGATIVE = (0.0, inf), (-inf, 0.0)
LORA, FULL = 'adapter == "lora"', 'adapter == "full"'

Verdict = Literal["holds", "weaker", "open", "fails"]


@dataclass(frozen=True)
class Rule:
    """A rule of thumb and how it is tested."""

    name: str  # a few words, unique
    claim: str  # the rule as a sentence
    source: str
    year: int
    contrast: Contrast
    expected: tuple[float, float] = POSITIVE  # the range of the contrast if the rule is right


RULES: tuple[Rule, ...] = (
    Rule(
        "SFT: the learning rate first",
        "SFT's learning rate explains more than its other hyperparameters do on average.",
        "Bengio, arXiv 1206.5533", 2012,
        OwnGap("sft_learning_rate"),
    ),
    Rule(
        "RL: the learning rate first",
        "RL's learning rate explains more than its other hyperparameters do on average.",
        "Bengio, arXiv 1206.5533, carried over to RL", 2012,
        OwnGap("rl_learning_rate"),
    ),
    Rule(
        "RL rate a tenth of SFT's",
        "With full weights the best RL learning rate is 1/20 to 1/10 of SFT's.",
        "Tulu 3 (arXiv 2411.15124): 5e-6 and 5e-7; TRL's defaults: 2e-5 and 1e-6", 2024,
        BestRatio("rl_learning_rate", "sft_learning_rate", FULL),
        (log10(1 / 20), log10(1 / 10)),
    ),
    Rule(
        "RL rate: too low before too high",
        "The lowest RL learning rates cost less than the highest ones.",
        "users' reports, e.g. hello-agents #770 (57 % to 2 % at 5e-5, stable at 1e-6)", 2025,
        Gap("rl_learning_rate <= rl_learning_rate.quantile(0.25)",
            "rl_learning_rate >= rl_learning_rate.quantile(0.75)"),
    ),
    Rule(
        "LoRA: ten times SFT's rate",
        "The best SFT learning rate of LoRA is 5 to 15 times that of full weights.",
        "LoRA Without Regret, in TRL's documentation", 2025,
        BestFactor(LORA, FULL, "sft_learning_rate"),
        (log10(5), log10(15)),
    ),
    Rule(
        "LoRA: a higher SFT rate",
        "A higher SFT learning rate helps LoRA more than it helps full weights.",
        "LoRA Without Regret, in TRL's documentation", 2025,
        SlopeGap(LORA, FULL, "sft_learning_rate"),
    ),
    Rule(
        "LoRA: a higher RL rate",
        "A higher RL learning rate helps LoRA more than it helps full weights.",
        "LoRA Without Regret, in TRL's documentation", 2025,
        SlopeGap(LORA, FULL, "rl_learning_rate"),
    ),
    Rule(
        "LoRA: as good when tuned",
        "The best of LoRA is within a quarter of a standard deviation of the best of full weights.",
        "LoRA Without Regret, in TRL's documentation", 2025,
        BestGap(LORA, FULL),
        (-0.25, 0.25),
    ),
    Rule(
        "LoRA: smaller SFT batches",
        "A larger SFT batch hurts LoRA more than it hurts full weights.",
        "LoRA Without Regret; Tinker's LoRA primer: in some scenarios", 2025,
        SlopeGap(LORA, FULL, "sft_batch_size"),
        NEGATIVE,
    ),
    Rule(
        "SFT rate grows with the batch",
        "A higher SFT learning rate helps more with large batches than with small ones.",
        "square-root scaling: Krizhevsky, arXiv 1404.5997", 2014,
        SlopeGap("sft_batch_size >= sft_batch_size.quantile(0.67)",
                 "sft_batch_size <= sft_batch_size.quantile(0.33)", "sft_learning_rate"),
    ),
    Rule(
        "SFT: warm up",
        "A warm-up of 3 % of SFT's steps or more is better than a shorter one.",
        "Tulu 3 (arXiv 2411.15124): 0.03", 2024,
        Gap("sft_warmup >= 0.03", "sft_warmup < 0.03"),
    ),
    Rule(
        "SFT: let the rate decay",
        "A decaying SFT learning rate is better than a constant one.",
        "Tulu 3 (arXiv 2411.15124): linear; open-r1: cosine", 2024,
        Gap('sft_schedule != "constant"', 'sft_schedule == "constant"'),
    ),
    Rule(
        "RL: keep the rate constant",
        "A constant RL learning rate is better than a decaying one.",
        "verl's recipes", 2025,
        Gap('rl_schedule == "constant"', 'rl_schedule != "constant"'),
    ),
    Rule(
        "RL rather than SFT",
        "Less than half of the steps for SFT is better than more.",
        "SFT Memorizes, RL Generalizes (arXiv 2501.17161)", 2025,
        Gap("sft_share < 0.5", "sft_share >= 0.5"),
    ),
    Rule(
        "RL: hardly any KL penalty",
        "A weight of the KL penalty below 0.01 is better than one above.",
        "DAPO (arXiv 2503.14476): none; DeepSeek-R1 (arXiv 2501.12948): 0.001", 2025,
        Gap("rl_beta < 0.01", "rl_beta >= 0.01"),
    ),
    Rule(
        "RL: sample at temperature 1",
        "A temperature of 0.9 or more is better than a lower one.",
        "defaults of TRL and verl: 1", 2025,
        Gap("rl_temperature >= 0.9", "rl_temperature < 0.9"),
    ),
    Rule(
        "RL: larger groups",
        "The larger groups of completions are better than the smallest ones.",
        "DeepSeek-R1 (arXiv 2501.12948), DAPO (arXiv 2503.14476): 16", 2025,
        Gap("rl_num_generations > rl_num_generations.min()",
            "rl_num_generations == rl_num_generations.min()"),
    ),
    Rule(
        "RL: no length bias in the loss",
        "The losses of DAPO and of Dr. GRPO are better than GRPO's own.",
        "DAPO (arXiv 2503.14476), Dr. GRPO (arXiv 2503.20783)", 2025,
        Gap('rl_loss_type in ["dapo", "dr_grpo"]', 'rl_loss_type == "grpo"'),
    ),
)  # fmt: skip


def evaluate_rules(landscape: Landscape, rules: Sequence[Rule] = RULES) -> pd.DataFrame:
    """Every rule whose hyperparameters the history varies.

    Returns:
        rule, claim, source, year, unit; estimate, estimate_se (over datasets), datasets; low, high:
        its 95 % interval; expected_low, expected_high; nothing: the estimate if scores had nothing
        to do with configurations; p: two-sided, of estimate = nothing; verdict.
    """
    tables = {
        group: landscape.values.iloc[rows].assign(z=landscape.z[rows])
        for group, rows in landscape.groups.items()
    }
    owners = {group: str(landscape.dataset[rows[0]]) for group, rows in landscape.groups.items()}
    out = []
    for rule in rules:
        ask = rule.contrast
        if not ask.needs <= set(landscape.names):
            continue
        answers = {group: (ask(table), ask.nothing(table)) for group, table in tables.items()}
        each = pd.DataFrame.from_dict(answers, orient="index", columns=["answer", "nothing"])
        each = each.dropna().groupby(owners.__getitem__).mean()
        found = mean_se(each["answer"].to_numpy(), "estimate")
        count, nothing = int(found["datasets"]), float(each["nothing"].mean())
        low, high = interval95(found["estimate"], found["estimate_se"], count)
        gaps = each["answer"] - each["nothing"]
        out.append(
            {
                "rule": rule.name,
                "claim": rule.claim,
                "source": rule.source,
                "year": rule.year,
                "unit": ask.unit,
                **found,
                "low": low,
                "high": high,
                "expected_low": rule.expected[0],
                "expected_high": rule.expected[1],
                "nothing": nothing,
                "p": float(stats.ttest_1samp(gaps, 0.0).pvalue) if count > 1 else float("nan"),
                "verdict": verdict((low, high), rule.expected, nothing, count),
            }
        )
    return pd.DataFrame(out)


def verdict(
    interval: tuple[float, float],
    expected: tuple[float, float],
    nothing: float,
    datasets: int = MIN_DATASETS,
) -> Verdict:
    """Judgement of a rule by the interval of its contrast.

    "holds": it lies inside the expected range. "open": it reaches across an edge, or lies outside
    and holds `nothing`, which scores that do not depend on configurations would give. "weaker": it
    lies between `nothing` and the range: the right direction, but less of it (luck in picking the
    best pulls there, too). "fails": it lies outside otherwise. Fewer than three datasets leave it
    open.
    """
    low, high = interval
    if datasets < MIN_DATASETS:
        return "open"
    if expected[0] <= low and high <= expected[1]:
        return "holds"
    if not (high < expected[0] or low > expected[1]) or low <= nothing <= high:
        return "open"
    between = (nothing < low and high < expected[0]) or (expected[1] < low and high < nothing)
    return "weaker" if between else "fails"
