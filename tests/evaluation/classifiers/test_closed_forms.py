"""Methods without training against scikit-learn and plain numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from bioclip.evaluation.classifiers import caps_adapter, fit_classifier, gda, gda_zero_shot, pseudo_labels, tip_adapter
from bioclip.evaluation.classifiers.classifier import Support
from bioclip.evaluation.classifiers.selection import split_support
from tests.evaluation.classifiers.planted import plant


@pytest.mark.parametrize("shots", [1, 4])
def test_simpleshot_is_the_nearest_centroid_of_the_centred_support(shots: int) -> None:
    support, queries, _ = plant(shots=shots)
    mean = support.images.mean(axis=0)
    centred = [(x - mean) / np.linalg.norm(x - mean) for x in support.images]
    asked = np.array([(x - mean) / np.linalg.norm(x - mean) for x in queries.astype(float)])
    centroids = np.array([np.mean([x for x, y in zip(centred, support.labels, strict=True) if y == c], axis=0) for c in range(5)])
    distances = np.linalg.norm(asked[:, None] - centroids[None], axis=2) ** 2
    found = fit_classifier("simpleshot", support)(queries)
    assert np.allclose(found, (asked**2).sum(axis=1)[:, None] - distances, atol=1e-12)
    if shots > 1:
        nearest = NearestCentroid().fit(centred, support.labels).predict(asked)
        assert np.array_equal(found.argmax(axis=1), nearest)


@pytest.mark.parametrize("shots", [1, 4, 9])
def test_knn_votes_as_scikit_learns_with_the_same_weights(shots: int) -> None:
    support, queries, _ = plant(shots=shots)
    peer = KNeighborsClassifier(min(20, 5 * shots), metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07))
    expected = peer.fit(support.images, support.labels).predict_proba(queries.astype(np.float64))
    votes = fit_classifier("knn", support)(queries)
    assert np.allclose(votes / votes.sum(axis=1, keepdims=True), expected, atol=1e-6)


def test_neighbours_as_near_as_the_last_one_all_vote() -> None:
    support = Support(np.repeat(np.eye(3, dtype=np.float32)[:2], 15, axis=0), np.repeat([0, 1], 15), 2)
    query = np.array([[1, 1, 0]], dtype=np.float32) / np.sqrt(np.float32(2))
    votes = fit_classifier("knn", support)(query)
    assert votes[0, 0] == pytest.approx(votes[0, 1], rel=1e-12)


@pytest.mark.parametrize(("shots", "width"), [(4, 12), (2, 40), (9, 12)])
def test_gda_is_the_papers_formula_and_scikit_learns_shrunk_analysis(shots: int, width: int) -> None:
    support, queries, _ = plant(shots=shots, width=width)
    x, y = support.images, support.labels
    means = np.array([x[y == c].mean(axis=0) for c in range(5)])
    covariance = np.cov((x - means[y]).T)
    precision = width * np.linalg.pinv((len(x) - 1) * covariance + np.trace(covariance) * np.eye(width))
    weights, offsets = means @ precision, np.log(1 / 5) - np.einsum("cd,de,ce->c", means, precision, means) / 2
    found = fit_classifier("gda", support)(queries)
    assert np.allclose(found, queries.astype(float) @ weights.T + offsets, rtol=1e-8, atol=1e-8)
    peer = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=width / (len(x) - 1 + width)).fit(x, y)
    assert np.array_equal(found.argmax(axis=1), peer.predict(queries.astype(float)))


def test_gda_of_one_image_a_class_is_the_nearest_image() -> None:
    support, queries, _ = plant(shots=1)
    distances = np.linalg.norm(queries[:, None].astype(float) - support.images[None], axis=2)
    assert np.array_equal(fit_classifier("gda", support)(queries).argmax(axis=1), support.labels[distances.argmin(axis=1)])


def test_gda_adds_the_text_head_with_the_factor_that_the_support_chose() -> None:
    support, queries, _ = plant(shots=6, spread=0.5)
    found = fit_classifier("gda_zero_shot", support)
    weights, offsets = gda.estimate(support.images, support.labels, 5)
    accuracies = np.zeros(len(gda_zero_shot.ALPHAS))
    for fitted, held in split_support(support):
        w, b = gda.estimate(fitted.images, fitted.labels, 5)
        logits = [100 * held.images @ held.texts.T + alpha * (held.images @ w.T + b) for alpha in gda_zero_shot.ALPHAS]
        accuracies += [(one.argmax(axis=1) == held.labels).mean() for one in logits]
    alpha = gda_zero_shot.ALPHAS[int(accuracies.argmax())]
    assert found.chosen == {"alpha": alpha}
    asked = queries.astype(float)
    assert np.allclose(found(queries), 100 * asked @ support.texts.T + alpha * (asked @ weights.T + offsets), atol=1e-6)


def _cache_logits(queries: np.ndarray, keys: np.ndarray, support: Support, alpha: float, beta: float) -> np.ndarray:
    scores = np.zeros((len(queries), support.num_classes))
    for row, query in enumerate(queries.astype(float)):
        scores[row] = 100 * support.texts @ query
        for key, label in zip(keys, support.labels, strict=True):
            scores[row, label] += alpha * np.exp(-beta * (1 - query @ key))
    return scores


@pytest.mark.parametrize("shots", [1, 4])
def test_tip_adapter_adds_the_cache_to_the_text_head(shots: int) -> None:
    support, queries, _ = plant(shots=shots)
    found = fit_classifier("tip_adapter", support)
    assert shots > 1 or found.chosen == {"alpha": 1.0, "beta": 5.5}
    assert (found.chosen["beta"], found.chosen["alpha"]) in tip_adapter.GRID
    assert np.allclose(found(queries), _cache_logits(queries, support.images, support, **found.chosen), atol=1e-6)


@pytest.mark.parametrize("shots", [1, 4])
def test_caps_adapter_mixes_images_and_captions(shots: int) -> None:
    support, queries, _ = plant(shots=shots)
    found = fit_classifier("caps_adapter", support)
    alpha, beta, delta = (found.chosen[name] for name in ("alpha", "beta", "delta"))
    assert support.captions is not None
    keys = (1 - delta) * support.images + delta * support.captions
    assert np.allclose(found(queries), _cache_logits(queries, keys, support, alpha, beta), atol=1e-6)


def test_caps_adapter_whose_captions_are_the_images_is_tip_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    support, queries, _ = plant()
    monkeypatch.setattr(caps_adapter, "select", lambda *_: (0.0, 5.5, 1.0))
    monkeypatch.setattr(tip_adapter, "select", lambda *_: (5.5, 1.0))
    expected = fit_classifier("tip_adapter", support)(queries)
    assert np.allclose(fit_classifier("caps_adapter", support)(queries), expected, atol=1e-12)
    monkeypatch.setattr(caps_adapter, "select", lambda *_: (0.5, 5.5, 1.0))
    same = replace(support, captions=support.features)
    assert np.allclose(fit_classifier("caps_adapter", same)(queries), expected, atol=1e-12)


def test_the_text_head_alone_ignores_the_support() -> None:
    support, queries, _ = plant()
    assert np.allclose(fit_classifier("zero_shot_head", support)(queries), queries.astype(float) @ support.texts.T, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_pseudo_labels_gain_on_a_rough_head_and_nothing_on_one_of_other_classes(seed: int) -> None:
    support, queries, asked = plant(shots=16, num_queries=400, spread=0.3, seed=seed)
    alone = (queries @ support.texts.T).argmax(axis=1) == asked
    assert (fit_classifier("pseudo_labels", support)(queries).argmax(axis=1) == asked).mean() > alone.mean() + 0.02
    turned = replace(support, heads=np.roll(support.texts, 1, axis=0))
    assert (fit_classifier("pseudo_labels", turned)(queries).argmax(axis=1) == asked).mean() < 0.2


def test_pseudo_labels_do_not_use_the_labels() -> None:
    support, queries, _ = plant()
    shuffled = replace(support, labels=np.random.default_rng(0).permutation(support.labels))
    assert np.array_equal(fit_classifier("pseudo_labels", support)(queries), fit_classifier("pseudo_labels", shuffled)(queries))


def test_pseudo_labels_are_the_surest_images_of_each_class() -> None:
    probabilities = np.array([[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.1, 0.4]])
    chosen, labels = pseudo_labels.choose_images(probabilities)
    assert chosen.tolist() == [0, 1, 3, 2, 3]
    assert labels.tolist() == [0, 0, 0, 1, 2]
