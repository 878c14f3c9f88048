"""Encodings: in which bytes is a text file written?"""

import codecs
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

#: How much of a file is decoded at once, in bytes.
_CHUNK_BYTES = 1 << 20

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the first half of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """A text file, packed or not, in its own encoding; line ends stay as they are."""
    encoding = _encoding(path)
    if _packed(path):
        with gzip.open(path, "rt", encoding=encoding, newline="") as text:
            yield text
    else:
        with path.open(encoding=encoding, newline="") as text:
            yield text


def _packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _encoding(path: Path) -> str:
    """By its byte-order mark, by its zero bytes, else UTF-8, or what Excel takes for it."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with gzip.open(path) if _packed(path) else path.open("rb") as file:
        head = file.read(_CHUNK_BYTES)
        for mark, encoding in _MARKS:
            if head.startswith(mark):
                return encoding
        zeros = [head[k : k + 2000 : 2].count(0) for k in (0, 1)]
        if max(zeros) > len(head[:2000]) // 4:  # every other byte of a western text is zero
            return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
        return "utf-8" if _decodes(decoder, head, file) else "cp1252"


def _decodes(decoder: codecs.IncrementalDecoder, head: bytes, file: Any) -> bool:
    chunk = head
    try:
        while chunk:
            decoder.decode(chunk)
            chunk = file.read(_CHUNK_BYTES)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
