"""The project's rewards for TRL's own command line: ``reward_funcs: [autopipe.trl_reward.reward]``.

TRL finds a reward by its import path and passes it columns of the dataset, nothing else. Which of
the rewards it is comes from a dataset card, named by an environment variable that the exported
``grpo.yaml`` sets. A configuration with terms for form and length lists ``format_reward`` and
``length_reward`` too, with their weights in ``reward_weights``.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from trials.data.dataset import Dataset, DatasetCard, Message, Row
from trials.io.errors import RewardError
from trials.io.plain_yaml import read_yaml
from trials.scoring.rewards import Reward, build_reward, format_check, overlong_penalty

CARD_VARIABLE = "AUTOPIPE_DATASET_CARD"
USER_CODE_VARIABLE = "AUTOPIPE_ALLOW_USER_CODE"
COMPLETION_LIMIT_VARIABLE = "AUTOPIPE_COMPLETION_LIMIT"


def reward(
    prompts: list[list[Message]],
    completions: list[list[Message]],
    answer: list[str],
    metadata: list[str],
    alternatives: list[list[str]] | None = None,
    **_: Any,
) -> list[float]:
    """Scores the last messages of completions as a trial does; metadata are JSON texts.

    Raises:
        RewardError: when no dataset card is named, or it names no reward.
    """
    score = _load_reward(_card_file(), os.environ.get(USER_CODE_VARIABLE) == "1")
    further = alternatives or [[] for _ in answer]
    return [
        score(
            completion[-1]["content"],
            Row(prompt, [], right, json.loads(extra), alternatives=tuple(others)),
        )
        for prompt, completion, right, extra, others in zip(
            prompts, completions, answer, metadata, further, strict=True
        )
    ]


def format_reward(completions: list[list[Message]], **_: Any) -> list[float]:
    """1 for each completion that has the form the dataset card asks for, else 0.

    Raises:
        RewardError: when no dataset card is named.
    """
    matches = format_check(_load_card(_card_file()))
    return [float(matches(completion[-1]["content"])) for completion in completions]


def length_reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """Soft punishment of long completions, in [-1, 0], as a trial gives it.

    Raises:
        RewardError: when the environment does not say how many tokens are generated at most.
    """
    limit = os.environ.get(COMPLETION_LIMIT_VARIABLE, "")
    if not limit.isdigit() or int(limit) < 1:
        raise RewardError(
            f"{COMPLETION_LIMIT_VARIABLE} is {limit!r}; expected the max_completion_length of "
            "grpo.yaml: start TRL in the folder of the export, as its README.md says"
        )
    return [overlong_penalty(len(tokens), int(limit)) for tokens in completion_ids]


def _card_file() -> Path:
    return Path(os.environ.get(CARD_VARIABLE, "")).resolve()


@lru_cache
def _load_card(file: Path) -> DatasetCard:
    if not file.is_file():
        raise RewardError(
            f"{CARD_VARIABLE} names {file}, which is not a file; expected the dataset card that "
            "lies beside the exported data: start TRL in the folder of the export, as its "
            "README.md says"
        )
    return DatasetCard(**read_yaml(file))


@lru_cache
def _load_reward(file: Path, allow_user_code: bool) -> Reward:
    card = _load_card(file)
    if card.reward is None:
        raise RewardError(f"{file}: `reward` is missing; expected the name of a reward")
    return build_reward(Dataset(file, card, "", {}, reward_inferred=False), allow_user_code)
