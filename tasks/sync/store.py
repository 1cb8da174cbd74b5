"""Run folders on shared storage: any fsspec URL (s3, gs, abfs, sftp, a mounted folder).

Training needs local files, so every machine works in a folder of its own and exchanges whole files
with the store. A file is only sent when it changed; records that say "this is complete"
(``result.json``, ``summary.json``) are sent after all others, and fetched last.
"""

from __future__ import annotations

import errno
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from tasks.config.names import EXPECTED, checked_path, checked_store
from trials.io.atomic import PARTIAL, replacing
from trials.io.errors import AutoPipeError, SettingsError

LAST = ("result.json", "summary.json")  # their presence says that the rest is there
# Of the moment, not of the run: who works on a folder, the heartbeats of its leader.
SKIPPED = (".lock", ".lock.holder.json", "lease.json", "leader.json")
PERMANENT = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR}
UNFINISHED = (PARTIAL, ".removed")  # ends of names of what is being written or removed


class StoreError(AutoPipeError):
    """The storage could not be read or written; ``transient`` if that may be over in a moment."""

    def __init__(self, text: str, transient: bool = True):
        super().__init__(text)
        self.transient = transient


@dataclass(eq=False)
class Store:
    """A folder on shared storage, at a URL as fsspec takes it; the environment has credentials."""

    url: str
    _fs: Any = field(init=False, repr=False)
    _root: str = field(init=False, repr=False)
    # Size and time of the files that are in the store as they are here, by their path there.
    _sent: dict[str, tuple[int, int]] = field(init=False, default_factory=dict, repr=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        try:
            self._fs, self._root = fsspec.core.url_to_fs(checked_store(self.url))
        except ImportError as error:
            raise SettingsError(
                f"the storage {self.url!r} needs a package that is not installed: {error}\n"
                "  install it here and on every machine with a worker"
            ) from None
        except ValueError as error:
            raise SettingsError(
                f"the storage {self.url!r} cannot be opened: {error}\n"
                f"  expected a URL as {EXPECTED}"
            ) from None
        except Exception as error:  # of whichever library: it may connect already
            raise self._error("open", self.url, error) from error

    def push(
        self, folder: Path, name: str, include: Callable[[PurePosixPath], bool] = lambda _: True
    ) -> int:
        """Sends what changed in a folder since this object sent it last; returns how many files.

        A file is sent as the only one of its folder. ``include`` takes a path in the folder.
        """
        if folder.is_file():
            files, folder = [folder], folder.parent
        else:
            files = [f for f in _files(folder) if include(PurePosixPath(f.relative_to(folder)))]
        with self._lock:
            paths = {file: self._path(name, file.relative_to(folder).as_posix()) for file in files}
            changed = [file for file in files if self._is_new(file, paths[file])]
            for file in changed:
                with self._access("write", paths[file]):
                    self._put(file, paths[file])
            return len(changed)

    def pull(
        self,
        name: str,
        folder: Path,
        only: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
        always: tuple[str, ...] = (),
    ) -> list[Path]:
        """Fetches what is not there yet, or has another size; returns the files that were fetched.

        Args:
            only: names of files to fetch; all by default.
            exclude: names of folders that are not fetched, at any depth.
            always: names of files to fetch whatever their size: they are changed in place.
        """
        root = self._path(name)
        with self._access("read", root):
            found = self._list(root)
        fetched = []
        for path, size in sorted(found.items(), key=lambda item: item[0].endswith(LAST)):
            relative = PurePosixPath(path)
            if (only and relative.name not in only) or relative.name in SKIPPED:
                continue
            if not set(exclude).isdisjoint(relative.parts):
                continue
            target = _inside(folder, relative)
            known = target.exists() and target.stat().st_size == size
            if known and relative.name not in always:
                continue
            with self._access("read", f"{root}/{path}"):
                self._get(f"{root}/{path}", target)
            fetched.append(target)
        return fetched

    def text(self, *parts: str) -> str | None:
        """The text of a small file as it is now; None if there is none."""
        path = self._path(*parts)
        with self._access("read", path), suppress(FileNotFoundError):
            self._fs.invalidate_cache(path.rpartition("/")[0])
            return str(self._fs.cat_file(path).decode("utf-8"))
        return None

    def write(self, text: str, *parts: str) -> None:
        """Writes a small file."""
        path = self._path(*parts)
        with self._access("write", path):
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(path, text.encode("utf-8"))

    def remove(self, *parts: str) -> None:
        """Removes a file, if it is there."""
        path = self._removable(*parts)
        self._sent.pop(path, None)
        with self._access("write", path), suppress(FileNotFoundError):
            self._fs.rm(path)

    def remove_folder(self, *parts: str) -> None:
        """Removes a folder with everything in it, if it is there.

        Raises:
            StoreError: the storage cannot be written; some of it may be gone.
        """
        path = self._removable(*parts)
        with self._lock:
            for known in list(self._sent):  # a copy: other threads add to it while they fetch
                if known.startswith(f"{path}/"):
                    self._sent.pop(known, None)
            with self._access("read", path):
                self._fs.invalidate_cache()
                exists = self._fs.exists(path)
            if exists:
                with self._access("write", path):
                    self._fs.rm(path, recursive=True)

    def _path(self, *parts: str) -> str:
        try:
            return "/".join([self._root.rstrip("/"), *map(checked_path, parts)])
        except ValueError as error:
            raise StoreError(f"the storage {self.url}: {error}", transient=False) from None

    def _removable(self, *parts: str) -> str:
        """A path to remove: storages take ``*`` and ``[`` in one for many files."""
        if not parts or set("*?[]{}") & set("".join(parts)):
            text = f"the storage {self.url}: {'/'.join(parts)!r} is not removed"
            raise StoreError(text, transient=False)
        return self._path(*parts)

    def _is_new(self, file: Path, path: str) -> bool:
        try:
            state = file.stat()
        except FileNotFoundError:  # removed since it was listed
            return False
        return self._sent.get(path) != (state.st_size, state.st_mtime_ns)

    def _note_sent(self, path: str, state: os.stat_result) -> None:
        self._sent[path] = state.st_size, state.st_mtime_ns

    def _put(self, file: Path, path: str) -> None:
        state = file.stat()
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        # Under another name first: a reader never sees half of it.
        draft = f"{path}.partial-{uuid.uuid4().hex}"
        self._fs.put_file(str(file), draft)
        self._fs.mv(draft, path)
        self._note_sent(path, state)

    def _get(self, path: str, target: Path) -> None:
        with replacing(target) as draft:
            self._fs.get_file(path, str(draft))
            state = draft.stat()
        self._note_sent(path, state)  # it need not be sent back

    def _list(self, root: str) -> dict[str, int]:
        """Sizes of the files of a folder, by their path in it."""
        self._fs.invalidate_cache()
        if not self._fs.exists(root):
            return {}
        found = self._fs.find(root, detail=True)
        prefix = self._fs._strip_protocol(root).rstrip("/") + "/"
        return {
            path.removeprefix(prefix): int(info["size"])
            for path, info in found.items()
            if ".partial-" not in path
        }

    @contextmanager
    def _access(self, verb: str, path: str) -> Iterator[None]:
        """Raises errors of the storage's library as `StoreError`."""
        try:
            yield
        except AutoPipeError:
            raise
        except Exception as error:  # gcsfs, botocore and paramiko raise others than OSError
            raise self._error(verb, path, error) from error

    def _error(self, verb: str, path: str, error: Exception) -> StoreError:
        reason = str(error) or type(error).__name__
        return StoreError(
            f"cannot {verb} {path} of the storage {self.url}: {reason}", _is_transient(error)
        )


def _is_transient(error: Exception) -> bool:
    """True if an error of a storage's library may be over in a moment."""
    if isinstance(error, OSError):
        return not isinstance(error, PermissionError) and error.errno not in PERMANENT
    # Google's errors say it themselves. Bugs do not pass; everything else may.
    retryable = getattr(error, "retryable", True)
    return bool(retryable) and not isinstance(
        error, (TypeError, AttributeError, ValueError, LookupError)
    )


@dataclass(frozen=True)
class StoredFolder:
    """A folder of a store."""

    store: Store
    name: str


@cache
def open_store(url: str) -> Store:
    """The store at a URL, one object per process: it knows what it sent."""
    return Store(url)


def _files(folder: Path) -> list[Path]:
    """The files to send, records that say "complete" last."""
    found = [
        file
        for file in folder.rglob("*")
        if file.name not in SKIPPED
        and not any(part.endswith(UNFINISHED) for part in file.relative_to(folder).parts)
        and file.is_file()
    ]
    return sorted(found, key=lambda file: (file.name in LAST, str(file)))


def _inside(folder: Path, relative: PurePosixPath) -> Path:
    """A path below the folder: names in the storage never lead out of it."""
    if relative.is_absolute() or ".." in relative.parts:
        text = f"the storage has a file named {str(relative)!r}, which is refused"
        raise StoreError(text, transient=False)
    return folder.joinpath(*relative.parts)
