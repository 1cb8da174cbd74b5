"""Where trials run: settings that cannot work are refused before anything is spent."""

from __future__ import annotations

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import ValidationError

from tasks.config.settings import TuneSettings
from tasks.execution.backend import check_backend
from trials.io.errors import SettingsError


def settings(**changes: object) -> TuneSettings:
    return TuneSettings(dataset="d", model="m", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["there", "10.0.0.1:8786", "tcp://", "workers now"])
def test_an_unknown_backend_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="is not here, workers, dask or an address"):
        settings(trials_on=value)


def test_storage_is_not_for_dask() -> None:
    with pytest.raises(ValidationError, match="only for trials_on here or workers"):
        settings(store="s3://bucket/runs", trials_on="dask")
    assert settings(store="s3://bucket/runs", trials_on="workers").store


def test_storage_is_a_url() -> None:
    with pytest.raises(ValidationError, match="'shared/runs' is not a URL"):
        settings(store="shared/runs")


def test_workers_need_a_server() -> None:
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(SettingsError, match="autopipe ui"),
    ):
        check_backend(settings(trials_on="workers"))


def test_dask_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.execution.backend.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"autopipe\[dask\]"):
        check_backend(settings(trials_on="dask"))


def test_a_dask_scheduler_has_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("prefect_dask")
    monkeypatch.setattr("tasks.execution.backend.CONNECT_SECONDS", 0.5)
    with pytest.raises(SettingsError, match="no Dask scheduler answers"):
        check_backend(settings(trials_on="tcp://127.0.0.1:9"))
