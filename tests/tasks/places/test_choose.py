"""Where trials run: settings that cannot work are refused before anything is spent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import ValidationError

from tasks.places.choose import place_of
from tasks.run_folder import RunFolder
from tasks.settings import TuneSettings
from trials.errors import SettingsError
from trials.launch import Launcher


def settings(**changes: object) -> TuneSettings:
    return TuneSettings(dataset="d", model="m", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["there", "10.0.0.1:8786", "tcp://", "workers now"])
def test_an_unknown_place_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="none of here, workers, dask, or an address"):
        settings(trials_on=value)


def test_storage_is_not_for_dask() -> None:
    with pytest.raises(ValidationError, match="it is for trials_on here or workers"):
        settings(store="s3://bucket/runs", trials_on="dask")
    assert settings(store="s3://bucket/runs", trials_on="workers").store


def test_workers_need_a_server(tmp_path: Path) -> None:
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(SettingsError, match="autopipe ui"),
        place_of(settings(trials_on="workers"), RunFolder(tmp_path), [Launcher()], print),
    ):
        pass


def test_dask_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    monkeypatch.setattr("tasks.places.choose.find_spec", lambda name: None)
    with (
        pytest.raises(SettingsError, match=r"autopipe\[dask\]"),
        place_of(settings(trials_on="dask"), RunFolder(tmp_path), [Launcher()], print),
    ):
        pass
