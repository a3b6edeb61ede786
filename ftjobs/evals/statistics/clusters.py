"""Rows that belong together count as one: their jackknife pseudo-value."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from ftjobs.errors import ConfigError

__all__ = ["freedom", "numbered", "pseudo_values"]

_Array = npt.NDArray[np.float64]


def numbered(clusters: Sequence[Hashable] | None, rows: int) -> npt.NDArray[np.intp] | None:
    """Each row's cluster as a number from 0; None where no two rows share one.

    A row whose cluster is None is on its own.

    Raises:
        ConfigError: there are not as many clusters as rows.
    """
    if clusters is None:
        return None
    if len(clusters) != rows:
        raise ConfigError(f"{rows} rows have {len(clusters)} clusters: each row needs one")
    numbers: dict[tuple[bool, Hashable], int] = {}
    keys = ((c is None, place if c is None else c) for place, c in enumerate(clusters))
    found = [numbers.setdefault(key, len(numbers)) for key in keys]
    return None if len(numbers) == rows else np.array(found, np.intp)


def pseudo_values(values: _Array, numbers: npt.NDArray[np.intp] | None) -> _Array:
    """One value for each cluster (Tukey 1958); the values themselves without clusters.

    Their standard error around the mean of `values` is that of the delete-one-cluster jackknife,
    CR3 (Bell & McCaffrey 2002).  A single cluster gives the mean.
    """
    if numbers is None:
        return values
    mean, sizes = values.mean(), np.bincount(numbers)
    if len(sizes) == 1:
        return np.array([mean])
    off = np.bincount(numbers, values) - mean * sizes
    pseudo: _Array = mean + (len(sizes) - 1) * off / (len(values) - sizes)
    return pseudo


def freedom(numbers: npt.NDArray[np.intp] | None, rows: int) -> int:
    """Degrees of freedom of t: 1 less than there are rows, or clusters in effect, but at least 1.

    Clusters of uneven size count as the number of even ones that would weigh as much, the square
    of the sum of sizes over the sum of squares (Carter, Schnepel & Steigerwald 2017).
    """
    if numbers is None:
        return max(1, rows - 1)
    sizes = np.bincount(numbers)
    return max(1, round(rows**2 / float((sizes**2).sum())) - 1)
