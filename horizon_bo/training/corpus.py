"""Corpus: which tokens does a model learn from, and which are held out?

The default is Python's own standard library, present in every install: its bytes, with one file
in twenty held out by the hash of its path. Text files and nanoGPT's `.bin` token files serve for
anything else.
"""

import bz2
import hashlib
import os
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from horizon_bo.errors import HorizonBOError

BYTES = 256
_HELD_OUT_ONE_IN = 20
#: Folders of the standard library that are absent, optional or generated in some installs.
_SKIPPED = frozenset(
    {
        *("site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"),
        *("idlelib", "lib2to3", "turtledemo", "encodings", "config", "ensurepip", "unicodedata"),
    }
)
_BETWEEN_FILES = b"\n\0\n"
#: Share of each text file that is held out, its end.
_HELD_OUT_SHARE = 1 / _HELD_OUT_ONE_IN
#: Vocabulary that nanoGPT pads GPT-2's 50,257 tokens to.
_GPT2_VOCAB = 50_304


class CorpusError(HorizonBOError, ValueError):
    """Text that cannot be trained on."""


@dataclass(frozen=True)
class Corpus:
    """Tokens to learn from and tokens held out.

    Args:
        name: What it is called in results.
        train: Token values.
        held_out: Token values never trained on.
        vocab: Number of token values.
        bytes_per_token: Of the text behind the tokens; `None` where it is not known.
    """

    name: str
    train: np.ndarray = field(repr=False)
    held_out: np.ndarray = field(repr=False)
    vocab: int = BYTES
    bytes_per_token: float | None = 1.0

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of all tokens; tells builds apart."""
        hashed = hashlib.sha256()
        for tokens in (self.train, self.held_out):
            hashed.update(np.ascontiguousarray(tokens).data)
        return hashed.hexdigest()[:16]

    def checked(self, context: int) -> "Corpus":
        """The corpus, or an error where it is too small for one sequence of that context."""
        for what, tokens in (("train on", self.train), ("hold out", self.held_out)):
            if len(tokens) <= context:
                raise CorpusError(
                    f"{self.name} leaves {len(tokens)} tokens to {what}, expected more than a "
                    f"context of {context}; give more text or a shorter context"
                )
        return self


def batch(
    corpus: Corpus, seed: int, step: int, rows: int, context: int
) -> Int[np.ndarray, "row span"]:
    """The sequences of one step, `context + 1` tokens each; it depends on seed and step alone.

    Every epoch goes through the text in windows of one context, in an order of its own.
    """
    windows = (len(corpus.train) - 1) // context
    index = np.arange(step * rows, (step + 1) * rows)
    epoch, place = np.divmod(index, windows)
    starts = np.array([_order(seed, int(e), windows)[p] for e, p in zip(epoch, place, strict=True)])
    return corpus.train[starts[:, None] * context + np.arange(context + 1)].astype(np.int64)


@lru_cache(maxsize=64)
def _order(seed: int, epoch: int, windows: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(windows)


def batches(
    corpus: Corpus, seeds: Sequence[int], step: int, rows: int, context: int
) -> Int[Tensor, "run row span"]:
    """The batch of each stacked run; runs of one seed see the same."""
    own = {seed: batch(corpus, seed, step, rows, context) for seed in set(seeds)}
    return torch.from_numpy(np.stack([own[seed] for seed in seeds]))


def held_out(corpus: Corpus, context: int, tokens: int) -> Int[Tensor, "row span"]:
    """Sequences spread evenly over the held-out text, the same for every run."""
    most = (len(corpus.held_out) - 1) // context
    count = max(1, min(tokens // context, most))
    starts = np.linspace(0, len(corpus.held_out) - context - 1, count).astype(np.int64)
    rows = corpus.held_out[starts[:, None] + np.arange(context + 1)]
    return torch.from_numpy(rows.astype(np.int64))


def corpus(text: Sequence[str | os.PathLike[str]] = ()) -> Corpus:
    """The corpus of these files; of the standard library where none are given.

    Args:
        text: Text files, `.bz2` packed or not, whose ends are held out; or nanoGPT's token files,
            `train.bin` and `val.bin`, in this order.
    """
    paths = [Path(entry) for entry in text]
    for path in paths:
        if not path.is_file():
            raise CorpusError(
                f"{path} is not a file, expected text or token files; correct the path"
            )
    if not paths:
        return standard_library()
    if any(path.suffix == ".bin" for path in paths):
        return _token_files(paths)
    return _text_files(paths)


@lru_cache(maxsize=1)
def standard_library() -> Corpus:
    """The source of Python's standard library as bytes, about 9 million of them."""
    root = Path(sysconfig.get_paths()["stdlib"])
    train, held = bytearray(), bytearray()
    for path in sorted(_sources(root)):
        name = path.relative_to(root).as_posix()
        content = path.read_bytes().replace(b"\r\n", b"\n") + _BETWEEN_FILES
        digest = int(hashlib.sha256(name.encode()).hexdigest(), 16)
        (train if digest % _HELD_OUT_ONE_IN else held).extend(content)
    if not train:
        raise CorpusError(
            f"{root} holds no Python source, expected the standard library; give text files"
        )
    return _bytes("stdlib", bytes(train), bytes(held))


def _sources(root: Path) -> list[Path]:
    found: list[Path] = []
    for folder, names, files in os.walk(root):
        names[:] = [n for n in names if n not in _SKIPPED and not n.startswith("config-")]
        found += [Path(folder) / name for name in files if name.endswith(".py")]
    return found


def _text_files(paths: Sequence[Path]) -> Corpus:
    train, held = bytearray(), bytearray()
    for path in paths:
        try:
            content = path.read_bytes()
            content = bz2.decompress(content) if path.suffix == ".bz2" else content
        except (OSError, ValueError) as error:
            raise CorpusError(
                f"{path} cannot be read ({error}), expected text; correct or unpack it"
            ) from error
        cut = len(content) - int(len(content) * _HELD_OUT_SHARE)
        train += content[:cut]
        held += content[cut:]
    return _bytes("+".join(path.name for path in paths), bytes(train), bytes(held))


def _bytes(name: str, train: bytes, held: bytes) -> Corpus:
    return Corpus(name, np.frombuffer(train, np.uint8), np.frombuffer(held, np.uint8))


def _token_files(paths: Sequence[Path]) -> Corpus:
    if len(paths) != 2 or any(path.suffix != ".bin" for path in paths):
        raise CorpusError(
            f"{len(paths)} files came with a .bin among them, expected two: train.bin and val.bin; "
            "give both"
        )
    if any(path.stat().st_size < 2 or path.stat().st_size % 2 for path in paths):
        raise CorpusError(
            f"{paths[0]} and {paths[1]} are not whole 16-bit tokens, expected nanoGPT's files of "
            "uint16; write them with its prepare.py"
        )
    train, held = (np.memmap(path, np.uint16, "r") for path in paths)
    sample = max(int(held.max()), int(train[: 1 << 20].max()))
    vocab = BYTES if sample < BYTES else max(_GPT2_VOCAB, sample + 1)
    return Corpus(paths[0].parent.name or paths[0].stem, train, held, vocab, None)
