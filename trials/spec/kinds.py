"""Names of what can become of a trial: how it ended, why it failed, which rule stopped it.

On disk and in the history they are the plain texts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

Stage = Literal["sft", "dpo", "rl"]
STAGES: tuple[Stage, ...] = ("sft", "dpo", "rl")


class TrialState(StrEnum):
    """The state in which a trial ended."""

    COMPLETED = "completed"  # reached the fraction that was asked for
    STOPPED = "stopped"  # ended by a rule, with a score
    FAILED = "failed"  # has no usable score


class FailureKind(StrEnum):
    """The cause of a trial's failure."""

    DIVERGED = "diverged"  # loss or gradient is NaN or infinite
    OUT_OF_MEMORY = "out_of_memory"  # of device or machine, or refused because it could not fit
    KILLED = "killed"  # by a signal that AutoPipe did not send
    CRASHED = "crashed"  # the process ended without a result, or lost its device or network
    ERROR = "error"  # the program raised an exception that is none of the others
    HUNG = "hung"  # no event for `Limits.silent_seconds`
    TIMED_OUT = "timed_out"  # still running beyond `Limits.wall_seconds`, without any score
    BAD_DATA = "bad_data"  # dataset, model or reward cannot be used
    BAD_CONFIG = "bad_config"  # the hyperparameters contradict each other or the data
    REWARD_FAILED = "reward_failed"  # the reward function raised, or returned no finite number
    DISK_FULL = "disk_full"


class StopRule(StrEnum):
    """The rule that ended a trial early."""

    LOSS_EXPLOSION = "loss_explosion"
    KL_GROWTH = "kl_growth"
    ZERO_REWARD = "zero_reward"
    REWARD_DROP = "reward_drop"
    NO_SPREAD = "no_spread"
    ENTROPY_COLLAPSE = "entropy_collapse"
    ENTROPY_GROWTH = "entropy_growth"
    TRUNCATION = "truncation"
    SHAPING_GAP = "shaping_gap"
    HELDOUT_DROP = "heldout_drop"
    HELDOUT_GAP = "heldout_gap"
    WALL_CLOCK = "wall_clock"  # the trial's time was over, whatever it was doing: it could go on


# Those that warn first, and stop only where they are told to.
ALARMS = (
    StopRule.ENTROPY_COLLAPSE,
    StopRule.ENTROPY_GROWTH,
    StopRule.TRUNCATION,
    StopRule.SHAPING_GAP,
    StopRule.HELDOUT_DROP,
    StopRule.HELDOUT_GAP,
)
# Only these are worth a second try: the others would end the same way again.
TRANSIENT_KINDS = frozenset({FailureKind.KILLED, FailureKind.CRASHED, FailureKind.HUNG})
# These say nothing about the configuration, and would end every other trial in the same way.
FATAL_KINDS = frozenset({FailureKind.BAD_DATA, FailureKind.REWARD_FAILED, FailureKind.DISK_FULL})
# The configuration brought these about, on this data or for this memory. The others speak of the
# machine, the data or the code: learned from, they would teach the search to shun good ones.
CONFIG_CAUSED_KINDS = frozenset(
    {FailureKind.DIVERGED, FailureKind.OUT_OF_MEMORY, FailureKind.BAD_CONFIG}
)
