from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import silhouette_samples

from bioclip.evaluation.tasks import embedding_structure
from bioclip.evaluation.taxonomic_distance import taxon_tree
from tests.evaluation.planted import CLASSES, nested_vectors, planted_input, unit

NUM = len(CLASSES)


def planted(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(NUM).repeat(5)
    return unit(nested_vectors(random)[labels] + 0.05 * random.normal(size=(len(labels), 24))), labels


def test_silhouettes_equal_scikit_learns() -> None:
    images, labels = planted(np.random.default_rng(1))
    expected = silhouette_samples(images.astype(np.float64), labels, metric="cosine")
    assert embedding_structure.silhouettes(images, labels) == pytest.approx(expected, abs=1e-6)


def test_an_image_alone_in_its_taxon_is_left_out() -> None:
    images, labels = planted(np.random.default_rng(2))
    labels[0] = NUM
    found = embedding_structure.silhouettes(images, labels)
    assert np.isnan(found[0])
    assert np.isfinite(found[1:]).all()


def test_features_that_follow_the_taxonomy_correlate_and_others_do_not() -> None:
    random = np.random.default_rng(3)
    images, labels = planted(random)
    for features, low, high in ((images, 0.6, 1.0), (random.normal(size=images.shape), -0.3, 0.3)):
        found = {m.metric: m for m in embedding_structure.run(planted_input(features, labels, None)).measurements}
        value = found["taxonomic_correlation"].statistic(np.ones((1, len(labels))), None)[0]
        assert low < value <= high


def test_the_correlation_is_spearmans_over_pairs_of_species() -> None:
    images, labels = planted(np.random.default_rng(4))
    centroids = unit(np.stack([images[labels == label].sum(axis=0) for label in range(NUM)]))
    first, second = np.triu_indices(NUM, 1)
    distances = taxon_tree(CLASSES).distances(first, second)
    expected = spearmanr(1 - (centroids @ centroids.T)[first, second], distances).statistic
    measurements = embedding_structure.run(planted_input(images, labels, None)).measurements
    statistic = next(m.statistic for m in measurements if m.metric == "taxonomic_correlation")
    assert statistic(np.ones((1, len(labels))), None)[0] == pytest.approx(expected, abs=1e-5)
    counts = np.ones((1, len(labels)))
    counts[0, labels == 3] = 0
    keep = (first != 3) & (second != 3)
    without = spearmanr(1 - (centroids @ centroids.T)[first, second][keep], distances[keep]).statistic
    assert statistic(counts, labels)[0] == pytest.approx(without, abs=1e-5), "a species that was not drawn is left out"


def test_one_class_is_skipped_with_a_note() -> None:
    assert "fewer than two classes" in embedding_structure.run(planted_input(np.eye(3), np.zeros(3, np.int64), None)).notes["skipped"]
