"""Smaller models of a family on the Hub, found by the way its owner names them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache

from huggingface_hub import HfApi

from tasks.inputs.sizes import IN_A_NAME, size_in_name
from trials.io.errors import SettingsError
from trials.io.problems import short

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Shares of the target's size that proxies should have: a cheap one, and one that is closer to it.
WANTED = (0.03, 0.25)
LARGEST = 0.6  # share above which a model is no cheaper to speak of


@cache
def smaller_siblings(model: str) -> tuple[str, ...]:
    """Models of the same owner with the same name but for a smaller size, the largest first.

    ``Qwen/Qwen3-8B-Base`` has ``Qwen/Qwen3-1.7B-Base`` and others. Of many, those whose sizes are
    nearest to `WANTED` of the model's are taken. Empty for a name without an owner or a size.

    Raises:
        SettingsError: the Hub cannot be asked.
    """
    owner, _, name = model.partition("/")
    size, place = size_in_name(model), IN_A_NAME.search(name.lower())
    if not HUB_ID.fullmatch(model) or size is None or place is None:
        return ()
    before, after = name[: place.start()], name[place.end() :]
    pattern = re.compile(re.escape(before) + IN_A_NAME.pattern + re.escape(after), re.IGNORECASE)
    try:
        listed = [each.id for each in HfApi().list_models(author=owner, search=before.strip("-_"))]
    except Exception as error:  # its HTTP client has errors of its own, another one by release
        raise SettingsError(
            f"--proxy auto: the Hub cannot be asked for smaller models of {owner}: {short(error)}\n"
            "  name one: --proxy OWNER/MODEL, or leave --proxy out"
        ) from error
    sizes = {
        each: found
        for each in sorted(listed)
        if each.partition("/")[0] == owner
        and pattern.fullmatch(each.partition("/")[2])
        and (found := size_in_name(each)) is not None
        and found <= LARGEST * size
    }
    nearest = {_nearest(sizes, share * size) for share in WANTED if sizes}
    return tuple(sorted(nearest, key=lambda each: -sizes[each]))


def _nearest(sizes: Mapping[str, int], wanted: float) -> str:
    return min(sizes, key=lambda each: abs(math.log(sizes[each] / wanted)))
