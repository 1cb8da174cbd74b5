"""The doctor: real checks of what is really broken, each with what mends it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.config.settings import EXAMPLE_MODEL
from tasks.operations import doctor
from tasks.operations.deploy import POOLS, make_pool
from tasks.operations.doctor import CheckResult, problem_of, run_check
from tests.trials.helpers import TINY

COMMAND = [sys.executable, "-m", "flows.cli", "doctor"]


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path))
    return tmp_path


def only(findings: Iterator[CheckResult] | list[CheckResult]) -> CheckResult:
    [finding] = findings
    return finding


@pytest.mark.parametrize(
    ("requirement", "problem"),
    [
        ("numpy>=1", ""),
        ("numpy>=99", " is not >=99"),
        ("no-such-package>=1", "no-such-package is not installed"),
        ("no-such-package>=1; sys_platform == 'win32'", ""),
        ("no-such-package>=1; python_version >= '3'", "no-such-package is not installed"),
    ],
)
def test_a_requirement_is_held_against_what_is_installed(requirement: str, problem: str) -> None:
    found = problem_of(Requirement(requirement))
    assert found.endswith(problem)
    assert bool(found) == bool(problem)


def test_a_broken_requirement_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.status for finding in doctor.python()] == ["good", "good"]
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch>=99", "numpy"]\n')
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    _, found = doctor.python()
    assert found.status == "bad"
    assert "torch" in found.message
    assert "numpy" not in found.message
    assert "make install" in found.fix


def test_a_workspace_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert only(doctor.disk()).status in ("good", "note")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("AUTOPIPE_HOME", str(tmp_path / "file" / "home"))
    found = only(doctor.disk())
    assert found.status == "bad"
    assert "AUTOPIPE_HOME" in found.fix


def test_the_history_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(doctor.history()).status == "good"
    monkeypatch.setenv("AUTOPIPE_HISTORY", str(tmp_path / "history"))
    shutil.copytree(doctor.BUNDLED_HISTORY, tmp_path / "history")
    [file, *_] = sorted((tmp_path / "history").glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:1000])
    found = only(doctor.history())
    assert found.status == "bad"
    assert file.name in found.message


def test_a_dataset_that_is_there_and_one_that_is_not() -> None:
    assert only(doctor.dataset_loads("gcd")).status == "good"
    found = only(doctor.dataset_loads("no-such-data"))
    assert found.status == "bad"
    assert "no-such-data" in found.message
    assert "autopipe datasets" in found.fix


def test_a_dataset_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "1 + 1", "completion"\n')
    found = only(doctor.dataset_loads(str(file)))
    assert found.status == "bad"
    assert "rows.jsonl:1" in found.message


def test_a_model_is_loaded_but_for_its_weights(tmp_path: Path) -> None:
    found = only(doctor.model_loads("tiny-100k"))
    assert found.status == "good"
    assert "llama of 0.1" in found.message
    assert only(doctor.model_loads(str(TINY))).status == "good"


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        ("config.json", "has no config.json"),
        ("tokenizer.json", "no tokenizer"),
        ("model.safetensors", "has no weights"),
    ],
)
def test_a_model_folder_that_cannot_be_loaded(tmp_path: Path, broken: str, text: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    (folder / broken).unlink()
    found = only(doctor.model_loads(str(folder)))
    assert found.status == "bad", found
    assert text in found.message
    assert found.fix


def test_a_hub_id_that_is_nowhere_is_no_good_one() -> None:
    found = only(doctor.model_loads("some-owner/no-such-model"))
    assert found.status == "bad"
    assert "unset HF_HUB_OFFLINE" in found.fix


def test_a_model_of_the_hub_that_was_fetched_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "hub" / "models--owner--model"
    shutil.copytree(TINY, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    found = only(doctor.model_loads("owner/model"))
    assert found.status == "good"
    assert "of the hub" in str(found)


def test_without_a_server_every_run_starts_one() -> None:
    with temporary_settings({PREFECT_API_URL: None}):
        assert only(doctor.server()).status == "note"


def test_a_server_that_does_not_answer() -> None:
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: url}):
            found = only(doctor.server())
    assert found.status == "bad"
    assert url in found.message
    assert "autopipe ui" in found.fix


def test_pools_that_are_not_there_and_pools_without_workers(prefect_harness) -> None:
    found = {finding.name: finding for finding in doctor.server()}
    assert found["server"].status == "good"
    assert [found[f"work pool {name}"].fix for name in POOLS] == ["autopipe deploy"] * 2
    with get_client(sync_client=True) as client:
        make_pool(client, POOLS[0], "process")
        try:
            found = {finding.name: finding for finding in doctor.server()}
        finally:
            client.delete_work_pool(POOLS[0])
    assert found[f"work pool {POOLS[0]}"].fix == f"prefect worker start --pool {POOLS[0]}"


def test_a_look_that_breaks_is_a_finding_and_keeps_the_others() -> None:
    def breaks() -> Iterator[CheckResult]:
        yield CheckResult("one", "good", "fine")
        raise ConnectionResetError("reset by peer")

    one, broken = run_check("server", breaks)
    assert one.status == "good"
    assert (broken.name, broken.status) == ("server", "bad")
    assert "ConnectionResetError: reset by peer" in broken.message


def test_a_server_that_answers_nonsense_does_not_end_the_other_looks(tmp_path: Path) -> None:
    """Healthy by its word, and no Prefect: its pools cannot be read."""
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "health").write_text("true")
    serve = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        serve, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split("port ")[1].split()[0]
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
            found = run_check("server", doctor.server)
        process.terminate()
    assert [finding.status for finding in found] == ["good", "bad"]
    assert "could not be checked" in found[1].message


@pytest.mark.slow
def test_the_command_and_its_dry_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--json"], capture_output=True, text=True, timeout=400, check=False
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    found = {event["what"]: event for event in events if event["event"] == "finding"}
    assert done.returncode == 0, done.stdout + done.stderr
    assert events[-1] == {"event": "ended", "bad": 0}
    assert found["dry run"]["status"] == "good"
    assert found["dataset gcd"]["status"] == found[f"model {EXAMPLE_MODEL}"]["status"] == "good"
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_command_says_what_is_bad_and_how_to_mend_it() -> None:
    arguments = ["--dataset", "no-such-data", "--no-dry-run"]
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 1
    assert "✗ dataset no-such-data" in done.stdout
    assert "autopipe datasets" in done.stdout
    assert f"✓ model {EXAMPLE_MODEL}" in done.stdout
