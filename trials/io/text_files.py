"""The bytes of a data file: unzipped, decoded and bounded, or named for what they are."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

from trials.io.errors import DatasetError, RowLocation

LONGEST_LINE = 64 * 2**20  # characters
LARGEST_FILE = 16 * 2**30  # bytes, unzipped: a few bytes of gzip can stand for any number
HEAD = 1_024
GZIP = b"\x1f\x8b"
ENCODINGS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
PICKLE = "a pickle, which is never loaded: it can run code"
# What files begin with that are taken for data by mistake, and what they are called.
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file: fetch it with `git lfs pull`"),
    (b"PK\x03\x04", "a zip archive (also .xlsx, .docx, .npz and PyTorch files are)"),
    *((bytes((0x80, version)), PICKLE) for version in range(2, 6)),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\xd0\xcf\x11\xe0", "an old Office document (.xls, .doc)"),
    (b"%PDF", "a PDF document"),
    (b"{\\rtf", "an RTF document"),
    (b"\x89PNG", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"RIFF", "a RIFF file: a sound, a film or a picture"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"ARROW1", "an Arrow file; pass the folder of save_to_disk that it lies in, or write parquet"),
    (b"FEA1", "a Feather file"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"GGUF", "a model (GGUF); models go to --model"),
    (b"\xfd7zXZ", "an xz archive: unpack it with `unxz`"),
    (b"BZh", "a bzip2 archive: unpack it with `bunzip2`"),
    (b"\x28\xb5\x2f\xfd", "a zstandard archive: unpack it with `unzstd`"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (GZIP, "a gzip file inside another: unpack it once"),
)
# Of texts, in lower case and without what is blank before them.
TEXT_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype html", "a web page (HTML), perhaps saved in place of the file"),
    (b"<html", "a web page (HTML), perhaps saved in place of the file"),
    (b"<?xml", "an XML file"),
    (b"<error", "an error message of a storage service (XML)"),
)


def first_bytes(file: Path) -> bytes:
    """The first bytes of a file, unzipped if it is gzipped.

    Raises:
        DatasetError: when it cannot be read.
    """
    with _opened(file) as stream:
        return stream.read(HEAD)


def named(head: bytes, file: Path) -> str | None:
    """The name of a file format that cannot be data; None for a file that may be."""
    if not head:
        return "an empty file"
    text = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    for begin, signatures in ((head, SIGNATURES), (text, TEXT_SIGNATURES)):
        for start, name in signatures:
            if begin.startswith(start):
                return name
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    if head.startswith(b"PAR1"):
        with file.open("rb") as raw:
            zipped = raw.read(2) == GZIP
        return "a gzipped parquet file: unpack it with `gunzip`" if zipped else None
    if not _encoding(head)[1] and b"\0" in head:
        if head[1::2].count(0) > len(head) // 4 or head[::2].count(0) > len(head) // 4:
            return "text in UTF-16 without a byte order mark: write it as UTF-8"
        return "a binary file"
    return None


def text_lines(file: Path, head: bytes) -> Iterator[tuple[int, str]]:
    """Yields the 1-based number and the text of every line, with its end.

    The file is UTF-8, or UTF-16 or UTF-32 with a byte order mark in its ``head``; may be gzipped.

    Raises:
        DatasetError: for what is not text, and beyond the bounds.
    """
    encoding, mark = _encoding(head)
    with _opened(file) as stream:
        if encoding == "utf-8":
            stream.read(len(mark))
            text: IO[Any] = stream
        else:
            text = io.TextIOWrapper(stream, encoding=encoding, newline="\n")
        size = 0
        for number in count(1):
            here = RowLocation(file, number)
            try:
                line = text.readline(LONGEST_LINE + 1)
                size += len(line)
                _check_size(len(line), size, here)
                whole = line.decode("utf-8") if isinstance(line, bytes) else line
            except UnicodeError as error:
                if isinstance(error, UnicodeDecodeError) and text is stream:
                    problem = f"byte {error.start + 1} of the line is not UTF-8"
                    expected = "UTF-8; convert with: iconv -f <its encoding> -t UTF-8"
                else:  # a lone byte at the end, or half a surrogate pair
                    problem = f"this is not whole {encoding.upper()}"
                    expected = "UTF-8, or UTF-16 with its byte order mark"
                raise here.error(problem, expected) from None
            if not whole:
                return
            yield number, whole


def _encoding(head: bytes) -> tuple[str, bytes]:
    for mark, name in ENCODINGS:
        if head.startswith(mark):
            return name, mark
    return "utf-8", b""


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    try:
        with file.open("rb") as raw:
            zipped = raw.read(2) == GZIP
            raw.seek(0)
            if not zipped:
                yield raw
                return
            with gzip.open(raw) as unzipped:
                yield unzipped  # type: ignore[misc]
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        problem, expected = f"the gzip file is cut short or damaged: {error}", "all of it"
        raise DatasetError(problem, path=file, expected=expected) from None
    except OSError as error:
        problem, expected = f"cannot be read: {error.strerror or error}", "a file that you may read"
        raise DatasetError(problem, path=file, expected=expected) from None


def _check_size(line: int, size: int, here: RowLocation) -> None:
    if line > LONGEST_LINE:
        problem, most = "the line has", LONGEST_LINE
    elif size > LARGEST_FILE:
        problem, most = "the text up to here has", LARGEST_FILE
    else:
        return
    expected = "one row per line, and no more rows than fit into memory"
    raise here.error(f"{problem} more than {most:,} bytes", expected)
