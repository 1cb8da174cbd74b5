"""A store of versions: DVC keeps inputs and outputs of runs under the hash of their content.

``<workspace>/versions/`` is a DVC repository of its own, without Git: each name has a small
``<name>.dvc`` there, and its files lie in DVC's cache and, if one is set, in the remote. A revision
is DVC's hash of a file or folder: the same content has the same revision everywhere.
"""

from __future__ import annotations

import configparser
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from tasks.config.paths import workspace
from tasks.sync.lock import locked
from trials.io.errors import AutoPipeError
from trials.io.hashing import content_hash
from trials.io.redact import has_secret, redacted

if TYPE_CHECKING:
    from dvc.repo import Repo

T = TypeVar("T")
log = logging.getLogger(__name__)
REMOTE_VARIABLE = "AUTOPIPE_DVC_REMOTE"
REMOTE = "autopipe"
# The process that holds the folder may be sending the weights of a large model.
WAIT_SECONDS, RETRY_SECONDS = 600.0, 1.0
RESTORED, KEPT, SENT = ".restored", ".kept", ".sent"


class VersionStoreError(AutoPipeError):
    """A DVC operation failed."""


@dataclass(frozen=True)
class VersionStore:
    """The versions of one workspace.

    One process at a time works on them; others wait. Each revision has a note in ``.kept/``, and
    one in ``.sent/<remote>/`` once that remote has it: no revision is forgotten if the process
    that added it is killed, and a new remote gets them all.
    """

    folder: Path  # the DVC repository; made when something is first added
    wait_seconds: float = WAIT_SECONDS  # for another process of AutoPipe or DVC

    def add(self, name: str, path: Path) -> str:
        """Adds a copy of a file or folder, pushes it if there is a remote; returns its revision.

        If the remote cannot be reached, it stays on this machine and is sent with the next one.
        Earlier revisions of that name, of letters, digits and dashes, stay.

        Raises:
            VersionStoreError: DVC failed, or another DVC process held the folder too long.
            Locked: another AutoPipe process held it too long.
        """
        out = self.folder / name

        def add(repo: Repo) -> str:
            [stage] = repo.add([str(path)], out=str(out), force=True)
            _remove(out)  # the cache has it; a second copy is of no use
            revision = str(stage.outs[0].hash_info.value)
            _note(self.folder / KEPT, revision, _file_name(revision))
            return revision

        with self._alone():
            revision = self._do(add)
            try:
                self._send()
            except VersionStoreError as error:
                log.warning("%s\n  it is sent with the next one that is added", error)
        return revision

    def restore(self, revision: str, name: str) -> Path:
        """Restores a revision under a name, from the cache or else from the remote.

        Returns:
            Its path, below this folder; it is DVC's, so copy it before you change it.

        Raises:
            VersionStoreError: neither has it.
            Locked: another AutoPipe process held the folder too long.
        """
        if not revision.removesuffix(".dir").isalnum():
            raise VersionStoreError(f"{revision!r} is not a revision; see versions.json of the run")
        place = self.folder / RESTORED / _file_name(revision)
        with self._alone():
            note = str(_note(place, revision, name))
            try:
                # Without the remote first: it may be away, and is often not needed.
                self._do(lambda repo: repo.checkout([note], force=True))
            except VersionStoreError as error:
                if not self.remote:
                    raise self._unknown(revision, name) from error
                try:
                    self._do(lambda repo: repo.pull([note], force=True))
                except VersionStoreError as of_remote:
                    raise self._unknown(revision, name) from of_remote
        if not (place / name).exists():
            raise self._unknown(revision, name)
        return place / name

    @property
    def remote(self) -> str | None:
        """URL that revisions are pushed to; None keeps them on this machine."""
        if named := os.environ.get(REMOTE_VARIABLE):
            return _absolute(named)
        config = configparser.ConfigParser(interpolation=None)  # a URL may have percent signs
        config.read(self.folder / ".dvc" / "config", encoding="utf-8")
        url = config.get(f"'remote \"{REMOTE}\"'", "url", fallback=None)
        if url is None or "://" in url:
            return url
        return os.path.normpath(self.folder / ".dvc" / url)  # where DVC writes paths relative to

    def set_remote(self, url: str) -> None:
        """Sets the remote: any URL that DVC knows (s3, gs, azure, ssh, a folder).

        Earlier revisions that it lacks are sent.

        Raises:
            VersionStoreError: sending failed (the remote stays set); or the URL has a password.
            Locked: another AutoPipe process held the folder too long.
        """
        if has_secret(url):
            raise VersionStoreError(
                f"the URL {redacted_urls(url)} has a password or another secret, which would be "
                f"kept in {self.folder / '.dvc' / 'config'}\n"
                f"  set the remote in the environment instead: {REMOTE_VARIABLE}=URL; "
                "from there it is not written anywhere"
            )
        with self._alone():
            self._do(lambda repo: _set_remote(repo, _absolute(url)))
            # It may have lost what it once had; DVC looks.
            shutil.rmtree(self._sent_to(self.remote or url), ignore_errors=True)
            self._send()

    def _sent_to(self, remote: str) -> Path:
        return self.folder / SENT / content_hash(remote)

    def _send(self) -> None:
        """Pushes every revision that the remote lacks, if one is set."""
        if not self.remote:
            return
        sent = self._sent_to(self.remote)
        kept = sorted((self.folder / KEPT).glob("*.dvc"))
        notes = [note for note in kept if not (sent / note.name).exists()]
        if not notes:
            return
        try:
            self._do(lambda repo: repo.push([str(note) for note in notes]))
        except VersionStoreError as error:
            raise VersionStoreError(
                f"the remote {redacted_urls(self.remote)} does not accept what only "
                f"{self.folder} has (revisions: {len(notes)}): {error}"
            ) from error
        sent.mkdir(parents=True, exist_ok=True)
        for note in notes:
            (sent / note.name).touch()

    def _unknown(self, revision: str, name: str) -> VersionStoreError:
        remote = (
            f"the remote {redacted_urls(self.remote)}" if self.remote else "a remote: none is set"
        )
        return VersionStoreError(
            f"revision {revision} of {name} is neither in the cache of {self.folder} nor in "
            f"{remote}\n  set one with: autopipe versions --remote URL"
        )

    def _alone(self) -> AbstractContextManager[None]:
        """Admits one AutoPipe process at a time: DVC locks single steps, not their results."""
        what = f"the folder of versions, {self.folder},"
        return locked(
            self.folder, what, "wait for it to end, then repeat the command", self.wait_seconds
        )

    def _do(self, operation: Callable[[Repo], T]) -> T:
        """Runs an operation on the repository, waiting for DVC processes up to the limit."""
        from dvc.lock import LockError
        from dvc.repo import Repo

        # After the import, which sets them itself: they print hints to the standard output.
        for name in ("dvc", "dvc.repo.scm_context"):
            logging.getLogger(name).setLevel(logging.WARNING)
        deadline = time.monotonic() + self.wait_seconds
        while True:
            try:
                with self._open(Repo) as repo:
                    return operation(repo)
            except LockError:
                if time.monotonic() > deadline:
                    raise VersionStoreError(
                        f"another DVC process has held {self.folder} for {self.wait_seconds:.0f} s"
                        "\n  wait for it to end, then repeat the command"
                    ) from None
                time.sleep(RETRY_SECONDS)
            except Exception as error:  # DVC's own, or whatever the library of a remote raises
                found = str(error) or type(error).__name__
                raise VersionStoreError(f"DVC in {self.folder}: {redacted_urls(found)}") from error

    def _open(self, kind: type[Repo]) -> Repo:
        if not (self.folder / ".dvc").is_dir():
            kind.init(str(self.folder), no_scm=True).close()
        # Given with every use and never written: a URL in the environment may hold a password.
        named = self.remote if os.environ.get(REMOTE_VARIABLE) else None
        return kind(str(self.folder), config=_config(named) if named else None)


def _absolute(remote: str) -> str:
    return remote if "://" in remote else str(Path(remote).absolute())


def version_store() -> VersionStore:
    """The version store of the workspace."""
    return VersionStore(workspace() / "versions")


def _set_remote(repo: Repo, url: str) -> None:
    from dvc.config import merge

    with repo.config.edit() as config:
        merge(config, _config(url))  # its other options are people's own


def _config(url: str) -> dict[str, dict[str, Any]]:
    """DVC's own options for a remote of that URL."""
    return {"remote": {REMOTE: {"url": url}}, "core": {"remote": REMOTE, "analytics": False}}


def _note(folder: Path, revision: str, name: str) -> Path:
    """Writes a ``.dvc`` file, which says that a path has that content."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.dvc"
    content = {"outs": [{"md5": revision, "hash": "md5", "path": name}]}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


def _file_name(revision: str) -> str:
    return revision.replace(".", "-")


def redacted_urls(text: str) -> str:
    """A text whose URLs are free of users and secrets."""
    return redacted(re.sub(r"(?<=://)[^/@\s]*@", "", text))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
