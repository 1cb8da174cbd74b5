"""The door of the library: names on first use, whatever lies around."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import autopipe

ROOT = Path(__file__).resolve().parents[1]
SHADOWS = ("flows", "tasks", "trials", "surrogates")


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder, as a user starts it: that folder is on the import path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def shadow(folder: Path, *names: str) -> None:
    for name in names:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the user was run')\n")


def test_the_door_hands_on_what_it_names() -> None:
    from flows.python_api import tune
    from surrogates.online.search import Search
    from trials.io.errors import AutoPipeError

    assert (autopipe.tune, autopipe.Search) == (tune, Search)
    assert autopipe.AutoPipeError is AutoPipeError
    assert set(autopipe.__all__) <= set(dir(autopipe))
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = autopipe.nothing_of_ours


def test_importing_the_door_costs_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, autopipe; "
        "print({'tasks', 'flows', 'torch', 'prefect', 'pydantic'} & set(sys.modules))"
    )
    assert python(tmp_path, "-c", code).stdout.strip() == "set()"


@pytest.mark.slow
def test_a_users_modules_of_the_same_names_shadow_nothing(tmp_path: Path) -> None:
    shadow(tmp_path, *SHADOWS)
    (tmp_path / "mine.py").write_text(
        "from autopipe import AutoPipeError, tune\n"
        "try:\n    tune('no-such-dataset', budget='nonsense')\n"
        "except AutoPipeError as error:\n    print(error)\n"
    )
    done = python(tmp_path, "mine.py")
    assert "budget 'nonsense' is not understood" in done.stdout, done.stderr


def test_a_users_module_that_was_imported_before_is_named(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("")
    done = python(tmp_path, "-c", "import tasks\nfrom autopipe import tune")
    assert "import autopipe first" in done.stderr
    assert str(tmp_path / "tasks.py") in done.stderr


def test_the_command_as_a_module_imports_nothing_of_the_current_folder(tmp_path: Path) -> None:
    shadow(tmp_path, *SHADOWS, "random", "yaml", "typer")
    done = python(tmp_path, "-m", "autopipe", "tune", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--budget" in done.stdout


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"sede": 1}, "sede: unknown setting; did you mean 'seed'?"),
        ({"steps": 20}, "steps: unknown setting; expected as schedule={'total_steps': 20}"),
        ({"eval_rows": 8}, "eval_rows: unknown setting; expected as schedule={'eval_rows': 8}"),
        ({"wall_seconds": 9}, "wall_seconds: unknown setting; expected as limits={'wall_"),
        ({"disk": 2}, "disk: unknown setting; expected as disk_gigabytes=2"),
        ({"xyz": 1}, "xyz: unknown setting; known: dataset, model, proxies, space, "),
        (
            {"precison": "float32"},
            "precison: unknown setting; did you mean 'precision', as compute={'precision': ...}?",
        ),
        (
            {"schedule": {"totalsteps": 20}},
            "schedule.totalsteps: unknown setting; did you mean 'total_steps'?",
        ),
        ({"schedule": {"q": 20}}, "schedule.q: unknown setting; known: total_steps, max_length"),
        ({"disk_gigabytes": 0}, "disk_gigabytes: expected a number above 0, found 0"),
        ({"parallel": "x"}, "parallel: expected a whole number, found 'x'"),
        ({"schedule": 3}, "schedule: expected names and values, found 3"),
        ({"trials_on": "x"}, "  trials_on: 'x' is not here, workers, dask"),
    ],
)
def test_settings_that_cannot_be_are_named_with_what_is_known(
    settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(autopipe.AutoPipeError, match=re.escape(told)):
        autopipe.tune("gcd", **settings)
