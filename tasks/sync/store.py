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
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from tasks.config.store_names import EXPECTED, checked_path, checked_store
from trials.io.atomic import PARTIAL, replacing
from trials.io.errors import AutoPipeError, SettingsError

LAST = ("result.json", "summary.json")  # their presence says that the rest is there
# Of the moment, not of the run: who works on a folder, signs of life of who leads it.
SKIPPED = (".lock", ".lock.holder.json", "lease.json", "leader.json")
LASTING = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR}
UNFINISHED = (PARTIAL, ".removed")  # ends of names of what is being written or removed


class StoreError(AutoPipeError):
    """The storage could not be read or written.

    Attributes:
        passing: whether it may be over in a moment; a request that was refused is refused again.
    """

    def __init__(self, text: str, passing: bool = True):
        super().__init__(text)
        self.passing = passing


@dataclass(eq=False)
class Store:
    """A folder on shared storage.

    Attributes:
        url: as fsspec takes it; credentials come from the environment, as each protocol says.
    """

    url: str
    _fs: Any = field(init=False, repr=False)
    _root: str = field(init=False, repr=False)
    _sent: dict[str, tuple[int, int]] = field(init=False, default_factory=dict, repr=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock, repr=False)
    _sent_lock: threading.Lock = field(init=False, default_factory=threading.Lock, repr=False)

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
        self, folder: Path, name: str, chosen: Callable[[PurePosixPath], bool] = lambda _: True
    ) -> int:
        """Sends what changed in a folder since this object sent it last.

        Args:
            folder: or a file, which is sent as the only one of its folder.
            name: of the folder in the store.
            chosen: whether a file is sent, by its path in the folder; all by default.

        Returns:
            How many files were sent.
        """
        if folder.is_file():
            files, folder = [folder], folder.parent
        else:
            files = [f for f in _files(folder) if chosen(PurePosixPath(f.relative_to(folder)))]
        with self._lock:
            places = {file: self._path(name, file.relative_to(folder).as_posix()) for file in files}
            changed = [file for file in files if self._is_new(file, places[file])]
            for file in changed:
                where = places[file]
                self._try("write", where, partial(self._put, file, where))
            return len(changed)

    def pull(
        self,
        name: str,
        folder: Path,
        only: tuple[str, ...] = (),
        without: tuple[str, ...] = (),
        anyway: tuple[str, ...] = (),
    ) -> list[Path]:
        """Fetches what is not there yet, or has another size; returns the files that were fetched.

        Args:
            name: of the folder in the store.
            folder: where to; what is there besides stays.
            only: names of files to fetch; all by default.
            without: names of folders in it that are not fetched, wherever they are.
            anyway: names of files to fetch whatever their size: they are changed in place.
        """
        root = self._path(name)
        found = self._try("read", root, lambda: self._list(root))
        fetched = []
        for path, size in sorted(found.items(), key=lambda item: item[0].endswith(LAST)):
            relative = PurePosixPath(path)
            if (only and relative.name not in only) or relative.name in SKIPPED:
                continue
            if not set(without).isdisjoint(relative.parts):
                continue
            target = _inside(folder, relative)
            known = target.exists() and target.stat().st_size == size
            if known and relative.name not in anyway:
                continue
            where = f"{root}/{path}"
            self._try("read", where, partial(self._get, where, target))
            fetched.append(target)
        return fetched

    def text(self, *parts: str) -> str | None:
        """A small file's text as it is now; None where there is none."""
        path = self._path(*parts)
        try:
            self._fs.invalidate_cache(path.rpartition("/")[0])
            with self._fs.open(path, "rb") as stream:
                return str(stream.read().decode("utf-8"))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._error("read", path, error) from error

    def write(self, text: str, *parts: str) -> None:
        """A small file, whole."""
        path = self._path(*parts)

        def write() -> None:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            with self._fs.open(path, "wb") as stream:
                stream.write(text.encode("utf-8"))

        self._try("write", path, write)

    def remove(self, *parts: str) -> None:
        """A file, if it is there."""
        path = self._removable(*parts)
        with self._sent_lock:
            self._sent.pop(path, None)
        try:
            self._fs.rm(path)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._error("write", path, error) from error

    def remove_folder(self, *parts: str) -> None:
        """A folder with all that is in it, if it is there.

        Raises:
            StoreError: the storage cannot be written; some of it may be gone.
        """
        path = self._removable(*parts)
        with self._lock:
            with self._sent_lock:
                for known in [known for known in self._sent if known.startswith(f"{path}/")]:
                    del self._sent[known]
            self._try("read", path, self._fs.invalidate_cache)
            if self._try("read", path, lambda: self._fs.exists(path)):
                self._try("write", path, lambda: self._fs.rm(path, recursive=True))

    def _path(self, *parts: str) -> str:
        try:
            return "/".join([self._root.rstrip("/"), *map(checked_path, parts)])
        except ValueError as error:
            raise StoreError(f"the storage {self.url}: {error}", passing=False) from None

    def _removable(self, *parts: str) -> str:
        """A path that is removed: storages take ``*`` and ``[`` in one for many files."""
        if not parts or any(set("*?[]{}") & set(part) for part in parts):
            what = "/".join(parts)
            raise StoreError(f"the storage {self.url}: {what!r} is not removed", passing=False)
        return self._path(*parts)

    def _is_new(self, file: Path, where: str) -> bool:
        try:
            state = file.stat()
        except FileNotFoundError:  # removed since it was listed
            return False
        with self._sent_lock:
            return self._sent.get(where) != (state.st_size, state.st_mtime_ns)

    def _note_sent(self, where: str, state: os.stat_result) -> None:
        """Notes it; also called by threads that fetch while others send."""
        with self._sent_lock:
            self._sent[where] = state.st_size, state.st_mtime_ns

    def _put(self, file: Path, where: str) -> None:
        state = file.stat()
        self._fs.makedirs(where.rpartition("/")[0], exist_ok=True)
        # Under another name first: a reader never sees half of it.
        draft = f"{where}.partial-{uuid.uuid4().hex}"
        self._fs.put_file(str(file), draft)
        self._fs.mv(draft, where)
        self._note_sent(where, state)

    def _get(self, where: str, target: Path) -> None:
        with replacing(target) as draft:
            self._fs.get_file(where, str(draft))
            state = draft.stat()
        self._note_sent(where, state)  # it need not be sent back

    def _list(self, root: str) -> dict[str, int]:
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

    def _try(self, verb: str, path: str, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except AutoPipeError:
            raise
        except Exception as error:  # gcsfs, botocore and paramiko raise what is no OSError
            raise self._error(verb, path, error) from error

    def _error(self, verb: str, path: str, error: Exception) -> StoreError:
        reason = str(error) or type(error).__name__
        return StoreError(
            f"cannot {verb} {path} of the storage {self.url}: {reason}", _may_pass(error)
        )


def _may_pass(error: Exception) -> bool:
    """Whether an error of a storage's library may be over in a moment."""
    if isinstance(error, OSError):
        return not isinstance(error, PermissionError) and error.errno not in LASTING
    # Google's errors say it themselves. Bugs do not pass; what else there is may.
    told = getattr(error, "retryable", True)
    return bool(told) and not isinstance(
        error, (TypeError, AttributeError, ValueError, LookupError)
    )


@dataclass(frozen=True)
class StoredFolder:
    """A folder of a store."""

    store: Store
    name: str


@cache
def open_store(url: str) -> Store:
    """One object a storage and process: it knows what it sent."""
    return Store(url)


def _files(folder: Path) -> Iterator[Path]:
    """What is sent, the records that say "complete" last."""
    found = [
        file
        for file in folder.rglob("*")
        if file.name not in SKIPPED
        and not any(part.endswith(UNFINISHED) for part in file.relative_to(folder).parts)
        and file.is_file()
    ]
    yield from sorted(found, key=lambda file: (file.name in LAST, str(file)))


def _inside(folder: Path, relative: PurePosixPath) -> Path:
    """A path below the folder: names in the storage never lead out of it."""
    if relative.is_absolute() or ".." in relative.parts:
        text = f"the storage has a file named {str(relative)!r}, which is refused"
        raise StoreError(text, passing=False)
    return folder.joinpath(*relative.parts)
