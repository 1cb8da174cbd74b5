"""Jobs arrive whole, once and in their order, at every process of a worker."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trials.process.inbox import Inbox


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text("abc/ é", min_size=1), max_size=12))
def test_every_reader_gets_every_job_in_order(tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / f"{time.monotonic_ns()}"
    folder.mkdir()
    inbox = Inbox(folder)
    seen: list[list[Path]] = [[], []]
    readers = [
        threading.Thread(target=lambda got=got: got.extend(Inbox(folder).jobs())) for got in seen
    ]
    for reader in readers:
        reader.start()
    for name in names:
        inbox.put(Path(name))
    inbox.close()
    for reader in readers:
        reader.join(timeout=10)
    assert seen == [[Path(name) for name in names]] * 2


def test_jobs_put_before_closing_are_done(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    inbox.put(Path("one"))
    inbox.put(Path("two"))
    inbox.close()
    assert list(Inbox(tmp_path).jobs()) == [Path("one"), Path("two")]


def test_a_reader_ends_when_its_inbox_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    done: list[list[Path]] = []
    reader = threading.Thread(target=lambda: done.append(list(Inbox(folder).jobs())))
    reader.start()
    shutil.rmtree(folder)
    reader.join(timeout=5)
    assert done == [[]]
