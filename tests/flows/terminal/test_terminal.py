"""What a person sees in a terminal: AutoPipe's lines and nobody else's, and an answer to Ctrl-C."""

from __future__ import annotations

import re
import shlex
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.terminal.interrupts import OWN_SECONDS
from tests.flows.running import only_run
from tests.flows.terminals import CTRL_C, Terminal, autopipe

SLACK_SECONDS = 3.0  # of a busy machine, for a process to be gone
TINY = ("--model", "tiny-100k", "--steps", "20", "--eval-rows", "32", "--test-rows", "32")

# Other people's ways to a terminal

LOUD = """
import logging, os, subprocess, sys, warnings
import typer
from tqdm import tqdm
from flows.cli.errors import friendly_errors
from flows.terminal.console import console
app = typer.Typer(pretty_exceptions_enable=False)
@app.command()
def main():
  with friendly_errors():
    print("printed by a library")
    os.write(1, b"written past Python\\n")
    os.write(2, b"an error past Python\\n")
    sys.stderr.write("a line on standard error\\n")
    subprocess.run(["echo", "said by a program"])
    for _ in tqdm(range(3), desc="Loading weights"):
        pass
    warnings.warn("mind this")
    late = logging.StreamHandler()  # as libraries make them when they are imported
    logging.getLogger("library").addHandler(late)
    logging.getLogger("prefect").warning("a log line")
    console.print("a line of ours")
    logging.getLogger("tasks.history.rows").warning("a warning of ours with [markup] and \\x1b[31m")
    ENDING
  logging.getLogger("library").warning("said too late")
  print("afterwards")
app()
"""


def loud(tmp_path: Path, ending: str) -> Terminal:
    terminal = Terminal([sys.executable, "-c", LOUD.replace("ENDING", ending)], tmp_path)
    terminal.end(120)
    return terminal


def test_only_our_lines_reach_the_terminal(tmp_path: Path) -> None:
    terminal = loud(tmp_path, "pass")
    assert terminal.code == 0
    assert terminal.lines == [
        "a line of ours",
        "note: a warning of ours with [markup] and \\x1b[31m",
        "afterwards",
    ]


def test_a_refusal_is_a_line_and_a_defect_shows_what_was_printed(tmp_path: Path) -> None:
    refusal = "from trials.io.errors import SettingsError; raise SettingsError('no [such] thing')"
    terminal = loud(tmp_path, refusal)
    assert terminal.code == 2
    assert terminal.lines[-1] == "error: no [such] thing"
    assert "printed by a library" not in terminal.text
    terminal = loud(tmp_path, "raise KeyError('a defect')")
    assert terminal.code == 1
    assert "KeyError: 'a defect'" in terminal.lines
    assert "printed by a library" in terminal.text
    assert "an error past Python" in terminal.text


# Ctrl-C while Python cannot see it

AWAY = """
import numpy as np
from flows.cli.app import app, main
from flows.cli.errors import friendly_errors
from flows.terminal.interrupts import interrupts
from flows.terminal.progress import LiveProgress
from flows.terminal.console import console

@app.command("away")
def away():
    with friendly_errors(), LiveProgress(console) as progress:
        progress.phase("fitting")
        interrupts.notes = ["resume with: autopipe tune --resume that-run"]
        while True:
            try:
                STUCK
            except KeyboardInterrupt:
                WHEN_HEARD

main()
"""
AT_ONCE = {
    # Linear algebra runs for a minute without a look at signals, but lets other threads run.
    "deaf": ("np.linalg.eigvals(np.random.default_rng(0).random((4000, 4000)))", "raise"),
    "swallows it": ("import time; time.sleep(60)", "pass"),
}


@pytest.mark.parametrize("kind", AT_ONCE)
def test_an_interrupt_is_answered_wherever_the_main_thread_is(kind: str, tmp_path: Path) -> None:
    stuck, heard = AT_ONCE[kind]
    code = AWAY.replace("STUCK", stuck).replace("WHEN_HEARD", heard)
    terminal = Terminal([sys.executable, "-c", code, "away"], tmp_path)
    terminal.until("fitting", 120)
    terminal.read(1.0)
    began = time.monotonic()
    terminal.type(CTRL_C)
    terminal.until("--resume that-run", OWN_SECONDS + SLACK_SECONDS)
    assert terminal.end(OWN_SECONDS + SLACK_SECONDS) == 130
    assert time.monotonic() - began < OWN_SECONDS + SLACK_SECONDS
    assert terminal.text.count("interrupted") == 1
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l")  # the cursor is back
    assert "Traceback" not in terminal.text


def test_a_second_interrupt_ends_the_command_at_once(tmp_path: Path) -> None:
    code = AWAY.replace("STUCK", "interrupts.seconds = 300; import time; time.sleep(60)")
    code = code.replace("WHEN_HEARD", "pass")
    terminal = Terminal([sys.executable, "-c", code, "away"], tmp_path)
    terminal.until("fitting", 120)
    terminal.read(0.5)
    terminal.type(CTRL_C)
    terminal.until("--resume that-run", SLACK_SECONDS)
    assert terminal.read(OWN_SECONDS)
    terminal.type(CTRL_C)
    assert terminal.end(SLACK_SECONDS) == 130


# The real command

LIVE = re.compile(r"^([⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ] |\S.* ━).*\d:\d\d:\d\d$")
TABLE = re.compile(r"^[┏┃┡│└├━─┓┩┤┘]|^Trials of ")
OURS = re.compile(
    r"^(\S+: \d+ training, \d+ validation|\S+: [\d.]+ M parameters|history: \d+ trials on|"
    r"trial \d{3} |budget |A score is the mean over|★ |The |No configuration|This run |"
    r"\d+ trials \(|report: +/|exported: +/|interrupted; |resume with: |"
    r"no trial has begun; |note: |"
    r"plan: a full trial takes |the base model is scored on |no completions of it are sampled|"
    r"the final measurement is on |the offline models are not trained in time|"
    r"a score over \d+ validation rows is uncertain|the trials are added to the history: |"
    r"\d+ of \d+ trials? (was|were) finished before|run \S+ is finished: )"
)


def others(terminal: Terminal) -> list[str]:
    """Lines that AutoPipe did not write, or whose beginning is not known here yet."""
    return [
        line
        for line in terminal.lines
        if not (LIVE.match(line) or TABLE.match(line) or OURS.match(line))
    ]


def small_run(home: Path, *arguments: str, columns: int = 400) -> Terminal:
    own = ("--history", str(home / "history"), *arguments)
    return Terminal(autopipe("tune", *TINY, *own), home, columns)


@pytest.mark.slow
def test_a_run_shows_nothing_but_our_lines(tmp_path: Path) -> None:
    terminal = small_run(tmp_path, "--budget", "3")
    assert terminal.end(1500) == 0, terminal.text
    assert others(terminal) == []
    for said in (
        "starting Prefect", "searching", " of 3 trials", "measuring on the test split",
        "before any training (on 32 validation rows)", "A score is the mean over 32 validation",
        "report:", "exported:",
    ):  # fmt: skip
        assert said in terminal.text, said
    assert re.search(r"(about \d+ min|less than a minute) left", terminal.text)
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l")


@pytest.mark.slow
def test_forty_columns_without_colours_are_enough(tmp_path: Path) -> None:
    plain = {"NO_COLOR": "1"}
    arguments = ("tune", *TINY, "--budget", "2", "--history", str(tmp_path / "history"))
    terminal = Terminal(autopipe(*arguments), tmp_path, 40, plain)
    assert terminal.end(1500) == 0, terminal.text
    assert not re.search(r"\x1b\[[\d;]*\b(3|4|9|10)\d\b", terminal.raw)  # no colour
    table = [line for line in terminal.lines if line.startswith("│")]
    assert table
    assert all(len(line) <= 40 and "…" not in line for line in table)


@pytest.mark.slow
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(tmp_path: Path) -> None:
    arguments = ("tune", *TINY, "--budget", "2", "--history", str(tmp_path / "history"))
    terminal = Terminal(autopipe(*arguments), tmp_path, 120, {"TERM": "dumb"})
    assert terminal.end(1500) == 0, terminal.text
    assert "\x1b" not in terminal.raw
    assert "searching" in terminal.lines


PHASES = (
    "checking the settings",
    "starting Prefect",
    "checking the dataset",
    "measuring what a trial costs",
    "probing the base model",
    "offline models",
    "searching",
    "sft loss",  # a trial trains
    "measuring on the test split",
)


@pytest.mark.slow
def test_an_interrupt_is_answered_in_every_phase_and_what_it_says_goes_on(tmp_path: Path) -> None:
    """Each command is the one that the interrupted one before it said."""
    command = autopipe("tune", *TINY, "--budget", "2")
    environment = {"AUTOPIPE_HISTORY": str(tmp_path / "own" / "history")}  # begins as the bundled
    slow: dict[str, float] = {}
    for phase in PHASES:
        terminal = Terminal(command, tmp_path, 160, environment)
        terminal.until(phase, 1500)
        children = psutil.Process(terminal.pid).children(recursive=True)
        began = time.monotonic()
        terminal.type(CTRL_C)
        assert terminal.end(60) == 130, terminal.text
        slow[phase] = time.monotonic() - began
        assert "interrupted" in terminal.text
        assert "Traceback" not in terminal.text
        _, alive = psutil.wait_procs(children, timeout=15)
        assert alive == [], phase
        said = re.findall(r"(?:resume|start again) with: autopipe (.*)", terminal.text)[-1]
        command = autopipe(*shlex.split(said))
    assert max(slow.values()) < 2.0 + SLACK_SECONDS, slow
    print({phase: f"{seconds:.1f} s" for phase, seconds in slow.items()})
    terminal = Terminal(command, tmp_path, 160, environment)
    assert terminal.end(1500) == 0, terminal.text
    assert only_run(tmp_path).summary() is not None
