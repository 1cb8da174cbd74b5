"""What a wheel holds, and that it works in an empty environment and a folder full of traps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.history.rows import history_files
from tasks.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
SETUPTOOLS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"][
    "setuptools"
]
NEEDED = ("autopipe", "flows", "tasks", "surrogates", "trials")  # folders with code that runs
TRAPS = (*NEEDED[1:], "data", "random", "yaml", "typer", "rich", "prefect", "accelerate", "torch")
TINY = ["--model", "tiny-100k", "--steps", "10", "--eval-rows", "16", "--test-rows", "16"]


def test_every_package_is_in_the_wheel() -> None:
    # review fault 10
    there = {
        ".".join(file.relative_to(ROOT).parent.parts)
        for package in NEEDED
        for file in (ROOT / package).rglob("__init__.py")
    }
    assert there <= set(SETUPTOOLS["packages"])
    assert set(SETUPTOOLS["packages"]) - there == set(SETUPTOOLS["package-dir"])


def test_all_data_that_are_in_git_are_in_the_wheel() -> None:
    # review fault 10
    for package, folder in SETUPTOOLS["package-dir"].items():
        patterns = SETUPTOOLS["package-data"][package]
        shipped = {file for pattern in patterns for file in (ROOT / folder).glob(pattern)}
        listed = subprocess.run(
            ["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, text=True, check=True
        )
        tracked = {ROOT / name for name in listed.stdout.split("\0") if name}
        left_out = {str(file.relative_to(ROOT)) for file in tracked - shipped}
        # A study of the project's own, and what makes an image of a checkout.
        assert not {name for name in left_out if not name.startswith("data/offline/insights")} - {
            "deployments/Dockerfile",
            "deployments/README.md",
            "deployments/install.sh",
            "deployments/try_it.py",
        }


def test_templates_are_in_the_wheel() -> None:
    folders = [folder.parent for folder in ROOT.glob("*/*/templates") if folder.is_dir()]
    found = {f"{folder.parent.name}.{folder.name}" for folder in folders}
    found = {name for name in found if not name.startswith("benchmarks.")}
    data = SETUPTOOLS["package-data"]
    assert found == {package for package in data if "templates/*" in data[package]} != set()


def build(folder: Path) -> Path:
    """A wheel of what is in the checkout; building within it would leave files there."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in (*NEEDED, "data", "deployments"):
        shutil.copytree(ROOT / name, folder / "source" / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "params.yaml"):
        shutil.copy(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, folder / "source"], check=True)
    shutil.rmtree(folder / "source")
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel, whose dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps"]
    wheel = build(tmp_path_factory.mktemp("wheel"))
    subprocess.run([*install, "--no-index", wheel], check=True)
    # Read as a path and no more: an editable install beside the dependencies stays unknown.
    here = {str(Path(path).resolve()) for path in sys.path if path.endswith("site-packages")}
    (site_packages(folder) / "dependencies.pth").write_text("\n".join(here) + "\n")
    return folder


def site_packages(environment: Path) -> Path:
    [folder] = environment.glob("lib/python3*/site-packages")
    return folder


@pytest.fixture
def users_folder(tmp_path: Path) -> Path:
    """A folder with files of a user's that have the names of our packages and of libraries."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in TRAPS:
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the user was run')\n")
    return folder


def outside(**own: str) -> Mapping[str, str]:
    """An environment that knows nothing of the checkout."""
    dropped = ("PYTHONPATH", "PYTHONSAFEPATH", "AUTOPIPE_", "PREFECT_HOME", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, **own}


def files_in(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc"}


def run(
    environment: Path, folder: Path, *command: str, **own: str
) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    done = subprocess.run(
        [environment / "bin" / program, *arguments],
        cwd=folder,
        env=outside(**own),
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_the_installed_command_tunes_in_a_folder_full_of_traps(
    environment: Path, users_folder: Path
) -> None:
    # review fault 10
    before = files_in(site_packages(environment))
    own = files_in(users_folder)
    run(environment, users_folder, "autopipe", "tune", *TINY, "--budget", "2")
    [path] = (users_folder / "runs").iterdir()
    run_folder = RunFolder(path)
    assert run_folder.summary() is not None
    info = run_folder.info()
    assert info.git_commit is None
    assert info.history.trials > 100  # the bundled history was learned from
    history = users_folder / "autopipe-data" / "history"
    assert all(Path(file).is_relative_to(history) for file in info.history.files)
    assert len(history_files(history)) == len(info.history.files) + 1
    assert files_in(site_packages(environment)) == before
    assert own <= files_in(users_folder)
    made = {file.relative_to(users_folder).parts[0] for file in files_in(users_folder) - own}
    assert made == {"runs", ".cache", ".prefect", "autopipe-data", "versions"}


@pytest.mark.slow
def test_the_installed_package_reads_its_own_data(environment: Path, users_folder: Path) -> None:
    (users_folder / "program.py").write_text(
        "from autopipe import Search, tune\n"
        "from tasks.inputs.catalog import load_catalog, resolve_model\n"
        "from tasks.config.params import PARAMS\n"
        "from tasks.operations.deploy import template\n"
        "from tasks.inputs.spaces import load_space\n"
        "search = Search(load_space('sft_grpo'), seed=0)\n"
        "print(PARAMS.is_file(), len(search.ask(2)), resolve_model('tiny-4m'))\n"
        "print(template('docker', 'autopipe')['variables'].keys(), load_catalog().example())\n"
    )
    for name in (
        "random",
        "yaml",
        "typer",
        "rich",
        "prefect",
        "torch",
    ):  # the program's own doing
        (users_folder / f"{name}.py").unlink()
    shown = run(environment, users_folder, "python", "program.py").stdout
    assert f"True 2 {site_packages(environment)}/autopipe/data/models/tiny-4m" in shown
    found = run(environment, users_folder, "autopipe", "doctor", "--no-dry-run").stdout
    assert "packages" in found
    assert "✗" not in found
    listed = run(environment, users_folder, "autopipe", "history", "show", COLUMNS="120").stdout
    assert "rows in 5 files" in listed
