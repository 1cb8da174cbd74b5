"""The choices that are compared: groups of variants, each with the usual one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """One way to do it."""

    changes: Mapping[str, Any]
    claim: str = ""
    """What its paper says of it."""


@dataclass(frozen=True)
class Group:
    """Variants that are compared under the same conditions, trained for as many steps.

    A trial takes a configuration that did well in the history, sets what the group fixes, and
    leaves out what starts with `drops`.
    """

    steps: int
    fixed: Mapping[str, Any]
    drops: tuple[str, ...]
    usual: str
    variants: Mapping[str, Variant] = field(default_factory=dict)


def _schedule(name: str, claim: str = "", **more: Any) -> Variant:
    fields = {"schedule": name} | more
    return Variant({f"sft_{key}": value for key, value in fields.items()}, claim)


SCHEDULES = Group(
    steps=100,
    fixed={"sft_share": 1.0},
    drops=("rl_", "sft_schedule", "sft_decay", "sft_min_lr_ratio"),
    usual="linear",
    variants={
        "linear": _schedule("linear", "best with decay to zero (arXiv 2310.07831)"),
        "cosine": _schedule("cosine"),
        "constant": _schedule("constant"),
        "wsd cosine": _schedule("wsd"),
        "wsd linear": _schedule("wsd", decay_shape="linear"),
        "wsd 1-sqrt": _schedule(
            "wsd", "above linear decay (arXiv 2405.18392)", decay_shape="1-sqrt"
        ),
        "rex": _schedule("rex", "above linear on short budgets (arXiv 2107.04197)"),
        "uba 0.5": _schedule("uba", "above cosine (arXiv 2505.24452)", phi=0.5),
        "uba 5": _schedule("uba", phi=5.0),
        "infinite": _schedule("infinite", "above cosine when data change (arXiv 2503.02844)"),
        "one_cycle": _schedule("one_cycle"),
        "power": _schedule("power"),
    },
)

ROLLOUTS = Group(
    steps=500,
    fixed={
        "sft_share": 0.2, "rl_batch_size": 32, "rl_num_generations": 8, "rl_loss_type": "dapo",
        "rl_schedule": "constant", "rl_temperature": 1.0, "rl_beta": 0.0, "rl_learning_rate": 1e-4,
    },
    drops=("rl_epsilon",),
    usual="none",
    variants={
        "none": Variant({}),
        "thompson": Variant({"rl_curriculum": "thompson"}, "1.8 times faster (arXiv 2507.04632)"),
        "cures": Variant({"rl_curriculum": "cures"}, "+3.3 points (arXiv 2510.01037)"),
        "sec": Variant({"rl_curriculum": "sec"}, "better out of distribution (arXiv 2505.14970)"),
        "dump": Variant({"rl_curriculum": "dump"}),
        "adarft": Variant({"rl_curriculum": "adarft"}, "up to 2 times faster (arXiv 2504.05520)"),
        "offline": Variant({"rl_curriculum": "offline"}),
        "mask": Variant({"rl_flat_groups": "mask"}),
        "resample": Variant({"rl_flat_groups": "resample"}, "42 to 50 on AIME (arXiv 2503.14476)"),
        "thompson, mask": Variant({"rl_curriculum": "thompson", "rl_flat_groups": "mask"}),
        "4 of 8": Variant({"rl_train_generations": 4}, "1.7 times faster (arXiv 2504.13818)"),
        "knapsack": Variant({"rl_allocation": "knapsack"}, "+2 to +4 points (arXiv 2509.25849)"),
    },
)  # fmt: skip

GROUPS = {"schedules": SCHEDULES, "rollouts": ROLLOUTS}
