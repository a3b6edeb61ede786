"""MinHash signatures of texts, and which of them are worth a comparison.

A text is the set of its shingles: every `SHINGLE` characters that follow one another, so that
text without spaces works too.  Two texts are as similar as their sets: the size of what they
share over the size of both together (Jaccard).  A signature holds, for each of `SIGNATURE` hash
functions, the least hash of any shingle; two signatures agree in a place with a probability that
is the similarity.  Signatures are cut into bands, and texts that agree in a whole band are
candidates, so that nobody compares everything with everything.

Sources: Broder, "On the resemblance and containment of documents" (1997), for MinHash; Leskovec,
Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3, for the bands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

SHINGLE = 5
"""Characters of a shingle: about a word of English, or two of Japanese."""

SIGNATURE = 128
"""Hash functions of a signature: the similarity it shows is off by 0.035 (standard deviation)
where the true one is 0.8."""

RECALL = 0.97
"""The least share of the pairs right at the threshold that become candidates, in expectation."""

WINDOW = 32
"""Neighbours that a text is compared with in a bucket: keeps a bucket that holds half of the
file from being squared."""

_ENOUGH = 4  # likely candidates a text in one band: more would say the same again
_CHUNK = 2**16  # pairs whose signatures are compared at once
_SURE = 3  # standard deviations by which a signature may show too little
_MIX = np.uint64(0xD6E8FEB86659FD93)  # the odd constant of the mixer by Pelle Evensen, rrmxmx
_BASE = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio, odd
_HALF = np.uint64(32)

_SEEDS = [xxhash.xxh3_64_intdigest(b"ftjobs", seed=place) for place in range(SIGNATURE)]
_FACTORS = np.array([seed >> 32 | 1 for seed in _SEEDS], dtype=np.uint32)
_TERMS = np.array([seed & 0xFFFFFFFF for seed in _SEEDS], dtype=np.uint32)

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]
Signatures = npt.NDArray[np.uint16]


class Text(NamedTuple):
    """A normalised text.  Texts of different `salt` (their images) share nothing."""

    words: str
    salt: int = 0


class Banding(NamedTuple):
    """How signatures are cut: so many bands of so many places each."""

    bands: int
    width: int

    def recall(self, similarity: float) -> float:
        """The probability that two texts of this similarity agree in a whole band."""
        return float(1 - (1 - similarity**self.width) ** self.bands)


def banding(threshold: float) -> Banding:
    """The widest bands, those with the fewest chance candidates, that find `RECALL` at it."""
    shapes = (Banding(SIGNATURE // width, width) for width in range(SIGNATURE, 1, -1))
    return next(
        (shape for shape in shapes if shape.recall(threshold) >= RECALL), Banding(SIGNATURE, 1)
    )


def similarity(one: Text, other: Text) -> float:
    """How much of the shingles of two texts is in both (Jaccard).

    Exact, but for two shingles of the same hash of 64 bits.
    """
    ours, theirs = (_unique(_hashed([text])[0]) for text in (one, other))
    either = len(_unique(np.concatenate([ours, theirs])))
    return (len(ours) + len(theirs) - either) / either


def _unique(values: Hashes) -> Hashes:
    values.sort()  # np.unique hashes, which takes five times as long
    keep = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=keep[1:])
    return values[keep]


def signatures(texts: Sequence[Text]) -> Signatures:
    """One signature a text, of `SIGNATURE` places.  Fastest for some 30,000 characters a call.

    Of each least hash the low 16 bits are kept: the high ones of a minimum are nearly always 0.
    """
    hashes, bounds = _hashed(texts)
    upper = (hashes >> _HALF).astype(np.uint32)
    found = np.empty((len(texts), SIGNATURE), np.uint16)
    hashed = np.empty_like(upper)
    for place in range(SIGNATURE):
        np.multiply(upper, _FACTORS[place], out=hashed)
        hashed += _TERMS[place]
        found[:, place] = np.minimum.reduceat(hashed, bounds)[::2].astype(np.uint16)
    return found


def _hashed(texts: Sequence[Text]) -> tuple[Hashes, Numbers]:
    """The hash of the shingle at every character of the joined texts, and the bounds of each.

    The bounds are where the shingles of each text begin and end, alternating; those that reach
    into the next text lie in between.
    """
    words = [text.words.ljust(SHINGLE, "\0") for text in texts]
    sizes = np.array([len(word) for word in words])
    joined = "".join(words).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(joined, dtype="<u4").astype(np.uint64)
    count = len(codes) - SHINGLE + 1
    hashes = codes[:count].copy()
    for ahead in range(1, SHINGLE):
        hashes *= _BASE
        hashes += codes[ahead : ahead + count]
    salts = np.array([text.salt for text in texts], dtype=np.uint64)
    if salts.any():
        hashes ^= np.repeat(salts, sizes)[:count]
    ends = np.cumsum(sizes)
    bounds = np.stack([ends - sizes, ends - SHINGLE + 1], axis=1).ravel()[:-1]
    return _mixed(hashes), bounds


def _mixed(values: Hashes) -> Hashes:
    """Spread every bit over all, in place."""
    for _ in range(2):
        values ^= values >> _HALF
        values *= _MIX
    values ^= values >> _HALF
    return values


def candidates(found: Signatures, threshold: float) -> Numbers:
    """Pairs of texts that may be as similar as the threshold, the likeliest first.

    Shape (pairs, 2), the earlier text first, no pair twice.  In a bucket every text meets its
    next `WINDOW` neighbours at most; the order in a bucket is that of the next band, which
    brings together those that are most alike.
    """
    count = len(found)
    shape = banding(threshold)
    keys = _band_keys(found, shape)
    least = round(SIGNATURE * _lowest_estimate(threshold))
    codes = np.empty(0, np.int64)
    for band in range(shape.bands):
        order = np.lexsort((keys[(band + 1) % shape.bands], keys[band]))
        codes = np.union1d(codes, _band_pairs(found, keys[band][order], order, least))
    pairs = np.stack(np.divmod(codes, count), axis=1) if count else codes.reshape(0, 2)
    likeness = _agreements(found, pairs)
    return pairs[np.argsort(-likeness, kind="stable")]


def _lowest_estimate(threshold: float) -> float:
    """What the signatures of a pair right at the threshold hardly ever fall below."""
    return threshold - _SURE * math.sqrt(threshold * (1 - threshold) / SIGNATURE)


def _band_keys(found: Signatures, shape: Banding) -> list[Hashes]:
    keys = []
    for band in range(shape.bands):
        key = np.zeros(len(found), np.uint64)
        for place in range(band * shape.width, (band + 1) * shape.width):
            key *= _BASE
            key += found[:, place]
        keys.append(_mixed(key))
    return keys


def _band_pairs(found: Signatures, keys: Hashes, order: Numbers, least: int) -> Numbers:
    """The likely pairs of one band as numbers: earlier * texts + later."""
    count, kept, likely = len(found), 0, [np.empty(0, np.int64)]
    for step in range(1, min(WINDOW + 1, count)):
        here = np.flatnonzero(keys[step:] == keys[:-step])
        if not len(here) or kept > _ENOUGH * count:
            break
        pairs = np.sort(np.stack([order[here], order[here + step]], axis=1), axis=1)
        pairs = pairs[_agreements(found, pairs) >= least]
        likely.append(pairs[:, 0] * count + pairs[:, 1])
        kept += len(pairs)
    return np.concatenate(likely)


def _agreements(found: Signatures, pairs: Numbers) -> Numbers:
    """In how many places the signatures of each pair agree."""
    agree = np.empty(len(pairs), np.int64)
    for start in range(0, len(pairs), _CHUNK):
        one, other = pairs[start : start + _CHUNK].T
        agree[start : start + _CHUNK] = (found[one] == found[other]).sum(axis=1)
    return agree
