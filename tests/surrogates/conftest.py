"""One synthetic family of tasks, and offline models fitted to it, shared by this folder."""

from __future__ import annotations

import ConfigSpace as cs
import pandas as pd
import pytest

from surrogates.offline.models import OfflineModels
from surrogates.space.encoding import SpaceEncoder
from tests.surrogates.problems import make_history, mixed_space


@pytest.fixture(scope="session")
def space() -> cs.ConfigurationSpace:
    return mixed_space()


@pytest.fixture(scope="session")
def encoder(space: cs.ConfigurationSpace) -> SpaceEncoder:
    return SpaceEncoder(space)


@pytest.fixture(scope="session")
def history(space: cs.ConfigurationSpace) -> pd.DataFrame:
    return make_history(space, tasks=6, trials=25, curves=True, deviation=0.15)


@pytest.fixture(scope="session")
def offline(history: pd.DataFrame, space: cs.ConfigurationSpace) -> OfflineModels:
    return OfflineModels.fit(history, space)
