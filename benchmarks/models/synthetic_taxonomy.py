"""A tree of taxa in the proportions of a large catalogue, and features of images that resemble their species. No real names."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bioclip.evaluation.benchmark import SpeciesClass

_SHARES = (2e-5, 2e-4, 8e-4, 3e-3, 0.02, 0.2, 1.0)
"""Taxa of each rank, kingdom to species, as shares of the number of species."""


def make_classes(num_species: int, seed: int) -> list[SpeciesClass]:
    """`num_species` species sorted by lineage; each taxon has at least one child, and the numbers of children vary as 1 / rank."""
    random = np.random.default_rng(seed)
    paths: list[tuple[str, ...]] = [()]
    for depth, share in enumerate(_SHARES):
        width = max(len(paths), round(share * num_species))
        weights = 1 / (1 + np.arange(len(paths)))
        extra = random.choice(len(paths), size=width - len(paths), p=weights / weights.sum())
        parents = np.sort(np.concatenate([np.arange(len(paths)), extra]))
        paths = [(*paths[parent], f"{'kpcofgs'[depth]}{number:07d}") for number, parent in enumerate(parents.tolist())]
    return [SpeciesClass(path, "") for path in paths]


def unit_rows(num_rows: int, width: int, seed: int) -> npt.NDArray[np.float32]:
    """Random float32 directions [num_rows, width]."""
    rows = np.random.default_rng(seed).standard_normal((num_rows, width), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def photograph(heads: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], noise: float, seed: int) -> npt.NDArray[np.float32]:
    """Features [N, D] of images of the classes `labels`: the class's direction with noise of `noise` times its length."""
    rows = heads[labels] + noise * unit_rows(len(labels), heads.shape[1], seed)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
