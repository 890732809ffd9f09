"""Seeds of the global random generators, so that no draw of a step depends on earlier steps."""

from __future__ import annotations

import random

import numpy
import torch


def seed_generators(seed: int) -> None:
    """Seed the global generators of torch, numpy and Python, each of which a dropout or an objective may draw from."""
    torch.manual_seed(seed)
    numpy.random.seed(seed % 2**32)
    random.seed(seed)
