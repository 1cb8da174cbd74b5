"""Files and folders that are written whole or not at all, whenever the program is killed.

Content goes to a draft with a hidden name beside its place, is flushed to the disk, and is renamed:
a reader sees the old content or the new one, never a half.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trials.io.errors import FileError

PARTIAL = ".partial"  # end of the names of drafts
# Some network file systems know no flushing of folders.
_CANNOT_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF}


def write_text(path: Path, text: str) -> None:
    """Writes a file of UTF-8.

    Raises:
        FileError: it cannot be written.
    """
    try:
        with replacing(path) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileError("write", path, error) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields the name of a file to write, which takes the place of ``path`` in the end."""
    draft = draft_of(path)
    try:
        yield draft
        put_in_place(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to fill, which becomes ``path`` in the end.

    Another process may have made the same meanwhile: then its folder stays, and this one goes.
    """
    draft = draft_of(path)
    draft.mkdir()
    try:
        yield draft
        put_first(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def draft_of(path: Path) -> Path:
    """A free hidden name beside a path, this thread's own; the folder above is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}{PARTIAL}")
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed and had the same id
    return draft


def put_in_place(draft: Path, path: Path) -> None:
    """Renames a finished file or folder; of folders only an empty one is replaced.

    Raises:
        OSError: something is in the way.
    """
    flush(draft)
    draft.replace(path)
    sync(path.parent)


def put_first(draft: Path, path: Path) -> None:
    """Like `put_in_place`, but keeps a folder that another process put there first."""
    try:
        put_in_place(draft, path)
    except OSError:
        if not (path.is_dir() and any(path.iterdir())):
            raise


def flush(path: Path) -> None:
    """Puts a file, or a folder and all that is in it, on the disk."""
    for each in (path, *path.rglob("*")):
        if not each.is_symlink():
            sync(each)


def sync(path: Path) -> None:
    """Puts a file, or the names of what is in a folder, on the disk: what was renamed stays so."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise
    finally:
        os.close(descriptor)


def link_tree(source: Path, target: Path) -> None:
    """Copies a folder by hard links where the file system has them: no second copy on disk."""

    def link(file: str, copy: str) -> None:
        try:
            os.link(file, copy)
        except OSError:
            shutil.copyfile(file, copy)

    shutil.copytree(source, target, copy_function=link)
