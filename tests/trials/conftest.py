"""A dataset on disk, written once for all tests of the trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trials.helpers import write_dataset


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "sums")
