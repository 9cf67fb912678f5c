"""Texts as sets of runs of three characters, by which they are compared; and the MinHash of each set.

MinHash (Broder 1997): of two sets, the share of hash functions whose least value over each set is the same estimates
their Jaccard similarity |A and B| / |A or B|.

Shape legend: n texts, P parts of each (2 for pairs), S runs of all parts together, H hash functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Text = tuple[str, ...]

RUN = 3
"""Characters of a run. Of 2, 3, 4 and 5 characters, words, and pairs of words, this keeps edited texts most alike
without taking other texts for them (figures in docs/log.md)."""

_CHUNK = 1 << 20  # characters that are looked at at once
_BLOCK = 1 << 15  # runs that are hashed at once, so that they stay in the processor's cache
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, eq=False)
class Shingles:
    """`runs`: uint32 (S,), those of one part ascending, each once; `starts`: int64 (n P + 1,), where each part begins.

    Runs are told apart by 32 bits of a hash.
    """

    runs: np.ndarray
    starts: np.ndarray
    parts: int

    def __len__(self) -> int:
        return (len(self.starts) - 1) // self.parts

    def of(self, place: int, part: int) -> np.ndarray:
        at = place * self.parts + part
        return self.runs[self.starts[at] : self.starts[at + 1]]


def folded(text: Text) -> Text:
    """A text without what its runs do not see: case, punctuation, and how many spaces stand where."""
    return tuple(" ".join(_WORD.findall(part.casefold())) or part.strip() for part in text)


def shingles(texts: Sequence[Text]) -> Shingles:
    """The runs of each part of texts that are `folded`, with a space before and after it."""
    parts = len(texts[0]) if texts else 1
    pieces = [f" {part} ".ljust(RUN) for text in texts for part in text]
    runs, counts, begin = [], [], 0
    while begin < len(pieces):
        end, length = begin, 0
        while end < len(pieces) and (end == begin or length + len(pieces[end]) <= _CHUNK):
            length += len(pieces[end])
            end += 1
        found, count = _runs(pieces[begin:end], begin, parts)
        runs.append(found)
        counts.append(count)
        begin = end
    starts = np.concatenate([[0], *counts]).cumsum()
    return Shingles(np.concatenate(runs) if runs else np.empty(0, np.uint32), starts.astype(np.int64), parts)


def _runs(pieces: Sequence[str], first: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    codes = np.frombuffer("".join(pieces).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    lengths = np.array([len(piece) for piece in pieces])
    piece = np.repeat(np.arange(len(pieces)), lengths)[: len(codes) - RUN + 1]
    inside = piece == np.repeat(np.arange(len(pieces)), lengths)[RUN - 1 :]
    # A code point has 21 bits, so that three make one number of 63 bits.
    joined = (codes[:-2] << np.uint64(42)) | (codes[1:-1] << np.uint64(21)) | codes[2:]
    piece, joined = piece[inside], joined[inside]
    salt = ((first + piece) % parts).astype(np.uint64) << np.uint64(63)
    hashed = mixed(joined ^ salt) >> np.uint64(32)
    keys = np.sort((piece.astype(np.uint64) << np.uint64(32)) | hashed)
    unique = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    counts = np.bincount((unique >> np.uint64(32)).astype(np.int64), minlength=len(pieces))
    return unique.astype(np.uint32), counts


def signatures(sets: Shingles, functions: int) -> np.ndarray:
    """MinHash of each text over the runs of all its parts, uint32 (n, H)."""
    of_text = sets.starts[:: sets.parts]
    numbers = mixed(np.arange(1, 2 * functions + 1, dtype=np.uint64)) >> np.uint64(32)
    factors, terms = (numbers[:functions] | np.uint64(1)).astype(np.uint32), numbers[functions:].astype(np.uint32)
    least = np.empty((len(sets), functions), dtype=np.uint32)
    begin = 0
    while begin < len(sets):
        end = max(begin + 1, int(np.searchsorted(of_text, of_text[begin] + _BLOCK, side="right")) - 1)
        runs, at = sets.runs[of_text[begin] : of_text[end]], of_text[begin:end] - of_text[begin]
        for number in range(functions):
            # An odd factor makes this a permutation of all numbers of 32 bits.
            least[begin:end, number] = np.minimum.reduceat(runs * factors[number] + terms[number], at)
        begin = end
    return least


def jaccard(ours: np.ndarray, theirs: np.ndarray) -> float:
    """|A and B| / |A or B| of two sets of runs."""
    both = len(np.intersect1d(ours, theirs, assume_unique=True))
    return both / (len(ours) + len(theirs) - both)


def mixed(numbers: np.ndarray) -> np.ndarray:
    """uint64 to uint64, one to one, so that each bit depends on all (SplitMix64, Steele et al. 2014)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
