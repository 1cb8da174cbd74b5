"""Secrets of the environment: a reward that prints them all leaves none of them anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import pytest

from tasks.config.paths import ROOT
from tests.flows.running import TINY
from tests.trials.helpers import write_dataset

pytestmark = pytest.mark.slow

# Each with a part that is found however the rest is quoted.
SECRETS = {
    "HF_TOKEN": "hf_QmXyZtokenInner01",
    "AWS_SECRET_ACCESS_KEY": "wJalrX/awsInner02+bPxRfiCY",
    "TEAM_WEBHOOK_URL": "https://hooks.example.org/services/T01/B02/hookInner03",
    "DB_PASSWORD": "quo\"ted\\ pass'wordInner04 \\ end",
    "SIGNING_KEY": "-----BEGIN KEY-----\nlinesInner05/abc\nlinesInner06/def\n-----END KEY-----",
    "STORE_ADDRESS": "sftp://me:urlInner07@storage.example.org/runs",
}
PARTS = [f"Inner0{number}" for number in range(1, 8)]
REWARD = '''
import json, os, sys
from pathlib import Path

calls = 0

def where():
    """Who asks: the check of the rows, the worker before there are trials, or a trial."""
    main = sys.modules["__main__"].__spec__
    if main is None or main.name != "trials.process.worker":
        return "check"
    trials = Path(__file__).parent.glob("home/runs/*/trials/0*/events.jsonl")
    return "trial" if any(trials) else "worker"

def reward(completion, prompt, answer, metadata):
    """Right or wrong; says all it knows, and fails where a file tells it to, once."""
    global calls
    calls += 1
    if calls % 40 == 1:
        print("environment:", os.environ)
        print(json.dumps(dict(os.environ)), file=sys.stderr)
        for name, value in os.environ.items():
            print(name, value)
    mark = Path(__file__).with_name("fails-in")
    if mark.exists() and mark.read_text() == where():
        mark.unlink()
        token, hook = os.environ["HF_TOKEN"], os.environ["TEAM_WEBHOOK_URL"]
        raise RuntimeError(f"{hook} refused {token!r}")
    return float(completion.strip() == answer)
'''
# As a worker would run it: Prefect's log and its pages are told, and no terminal.
AS_A_WORKER = """
import json, sys
from pathlib import Path
from flows.server.environment import configure
configure()
from flows.server.prefect import prefect_server
from flows.tune import tune
with prefect_server():
    tune(json.loads(sys.argv[1]), None, Path(sys.argv[2]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a dataset, its reward in a module, and the workspace."""
    write_dataset(
        tmp_path / "sums", "reward: telltale:reward\n", {"train": 80, "validation": 32, "test": 32}
    )
    (tmp_path / "telltale.py").write_text(REWARD)
    (tmp_path / "home").mkdir()
    return tmp_path


def environment(project: Path) -> Mapping[str, str]:
    home = project / "home"
    return os.environ | SECRETS | {
        "AUTOPIPE_HOME": str(home),
        "PREFECT_HOME": str(home / ".prefect"),
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PYTHONPATH": f"{project}:{ROOT}",
    }  # fmt: skip


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    for name, text in (("stdout", done.stdout), ("stderr", done.stderr)):
        assert not told(text.encode()), f"{name} of {command}: {text}"
    return done


def autopipe(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    history = ("--history", str(project / "home" / "history"))
    return run(project, "-m", "flows.cli", "tune", *arguments, *history)


def told(content: bytes) -> list[str]:
    return [part for part in PARTS if part.encode() in content]


def contents(home: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file of the workspace; a table as text, for it is compressed."""
    for file in home.rglob("*"):
        if file.suffix == ".parquet":
            yield file, pd.read_parquet(file).to_csv().encode()
        elif file.is_file():
            yield file, file.read_bytes()


def check(home: Path) -> None:
    leaks = {str(file.relative_to(home)): told(text) for file, text in contents(home) if told(text)}
    assert not leaks


def test_a_reward_is_not_run_unasked(project: Path) -> None:
    refused = autopipe(project, "sums", *TINY, "--budget", "2")
    assert refused.returncode == 2
    assert "--allow-user-code" in refused.stdout
    assert not (project / "home" / "runs").exists()
    assert not list((project / "home").rglob("log.txt"))


def test_what_a_reward_prints_and_raises_keeps_the_secrets(project: Path) -> None:
    home, mark = project / "home", project / "fails-in"
    begin = ("sums", *TINY, "--budget", "2", "--parallel", "1", "--allow-user-code")

    for before_the_trials in ("check", "worker"):
        mark.write_text(before_the_trials)
        failed = autopipe(project, *begin, "--json")
        assert failed.returncode == 2, failed.stderr
        assert not mark.exists()
        assert json.loads(failed.stdout.splitlines()[-1])["event"] == "failed"
        assert "refused" in failed.stderr
        check(home)

    mark.write_text("trial")  # in the middle of it, as on a worker
    settings = {
        "dataset": str(project / "sums"),
        "model": "tiny-100k",
        "budget": {"amount": 2, "unit": "trials"},
        "parallel": 1,
        "schedule": {"total_steps": 20, "eval_rows": 32},
        "test_rows": 32,
        "allow_user_code": True,
    }
    failed = run(project, "-c", AS_A_WORKER, json.dumps(settings), str(home / "history"))
    assert failed.returncode == 1
    assert "refused" in failed.stderr
    [result] = home.rglob("trials/*/result.given-up.json")
    assert "reward_failed" in result.read_text()
    check(home)

    folder = result.parents[2]
    done = autopipe(project, "--resume", folder.name)
    assert done.returncode == 0, done.stdout + done.stderr
    check(home)
    logs = [file.read_text() for file in folder.glob("trials/*/log.txt")]
    assert len(logs) == 2
    assert all("HF_TOKEN *****" in log for log in logs)
    database = b"".join(file.read_bytes() for file in (home / ".prefect").glob("prefect.db*"))
    assert b"[secret of the environment]" in database
