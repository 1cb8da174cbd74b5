"""The decorator of the steps that flows chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE

P = ParamSpec("P")
R = TypeVar("R")


def step(function: Callable[P, R]) -> Task[P, R]:
    """Makes a function a Prefect task that always runs.

    Prefect would hash the arguments to find the result of an earlier run; here what was done is
    known from the files that it left.
    """
    return task(cache_policy=NO_CACHE)(function)
