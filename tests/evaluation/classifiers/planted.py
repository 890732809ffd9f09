"""Features with planted classes: unit vectors around one direction per class, and text features near those directions."""

from __future__ import annotations

import numpy as np

from bioclip.evaluation.classifiers.classifier import Support, unit_rows


def plant(
    num_classes: int = 5, shots: int = 4, width: int = 12, num_queries: int = 60, spread: float = 0.25, seed: int = 7
) -> tuple[Support, np.ndarray, np.ndarray]:
    """(support with texts and captions, queries [Q, D], their labels [Q])."""
    random = np.random.default_rng(seed)
    directions = unit_rows(random.normal(size=(num_classes, width)))
    labels = np.repeat(np.arange(num_classes), shots)
    asked = random.integers(num_classes, size=num_queries)

    def around(centres: np.ndarray, noise: float) -> np.ndarray:
        return unit_rows(centres + noise * random.normal(size=centres.shape))

    support = Support(
        features=around(directions[labels], spread).astype(np.float32),
        labels=labels,
        num_classes=num_classes,
        heads=around(directions, spread).astype(np.float32),
        captions=around(directions[labels], spread).astype(np.float32),
        logit_scale=30.0,
        seed=5,
    )
    return support, around(directions[asked], spread).astype(np.float32), asked
