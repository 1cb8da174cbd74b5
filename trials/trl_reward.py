"""The project's rewards for TRL's own command line: ``reward_funcs: [trials.trl_reward.reward]``.

TRL finds a reward by its import path and passes it columns of the dataset, nothing else. Which of
the rewards it is comes from a dataset card, named by an environment variable that the exported
``grpo.yaml`` sets.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from trials.dataset import Dataset, DatasetCard, Message, Row
from trials.errors import RewardError
from trials.rewards import Reward, build_reward

CARD_VARIABLE = "AUTOPIPE_DATASET_CARD"
USER_CODE_VARIABLE = "AUTOPIPE_ALLOW_USER_CODE"


def reward(
    prompts: list[list[Message]],
    completions: list[list[Message]],
    answer: list[str],
    metadata: list[str],
    **_: Any,
) -> list[float]:
    """Scores completions as a trial does.

    Args:
        prompts, completions: chats; the last message of a completion is scored.
        answer: of each row.
        metadata: of each row, as JSON.

    Raises:
        RewardError: when no dataset card is named, or it names no reward.
    """
    card = Path(os.environ.get(CARD_VARIABLE, "")).resolve()
    score = _load(card, os.environ.get(USER_CODE_VARIABLE) == "1")
    return [
        score(completion[-1]["content"], Row(prompt, [], right, json.loads(extra)))
        for prompt, completion, right, extra in zip(
            prompts, completions, answer, metadata, strict=True
        )
    ]


@lru_cache
def _load(file: Path, allow_user_code: bool) -> Reward:
    if not file.is_file():
        raise RewardError(
            f"{CARD_VARIABLE} names {file}, which is no file; expected the dataset card that lies "
            "beside the exported data: start TRL from the run folder, as best/README.md says"
        )
    card = DatasetCard(**yaml.safe_load(file.read_text(encoding="utf-8")))
    if card.reward is None:
        raise RewardError(f"{file}: `reward` is missing; expected the name of a reward")
    return build_reward(Dataset(file, card, "", {}, reward_inferred=False), allow_user_code)
