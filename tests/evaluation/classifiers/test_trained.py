"""Methods that are trained on the support: against scikit-learn, and against plain numpy with gradients written out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from bioclip.evaluation.classifiers import clip_adapter, fit_classifier, linear_probe, lp_plus_plus, taskres, tip_adapter_f
from bioclip.evaluation.classifiers.classifier import one_hot, softmax
from tests.evaluation.classifiers.planted import plant


@pytest.mark.parametrize(("shots", "width", "penalty"), [(4, 12, 1.0), (2, 40, 10.0), (9, 12, 100.0)])
def test_the_probe_is_scikit_learns_logistic_regression(shots: int, width: int, penalty: float) -> None:
    support, queries, _ = plant(shots=shots, width=width)
    weights, offsets = linear_probe.solve(support.images, support.labels, 5, penalty, tolerance=1e-9)
    peer = LogisticRegression(C=penalty, tol=1e-10, max_iter=10_000).fit(support.images, support.labels)
    asked = queries.astype(np.float64)
    assert np.allclose(softmax(asked @ weights.T + offsets), peer.predict_proba(asked), atol=2e-5)
    assert np.allclose(weights - weights.mean(axis=0), peer.coef_ - peer.coef_.mean(axis=0), atol=1e-3 * np.abs(peer.coef_).max())


def test_the_probe_starts_where_it_is_told_and_ends_at_the_same_minimum() -> None:
    support, _, _ = plant()
    start = np.random.default_rng(1).normal(size=(5, 13))
    one, two = (linear_probe.solve(support.images, support.labels, 5, 10.0, first, 1e-9) for first in (None, start))
    assert np.allclose(one[0], two[0], atol=1e-4)


def test_lp_plus_plus_starts_and_steps_as_written_and_its_loss_never_rises() -> None:
    support, _, _ = plant(shots=3)
    x, t, y = support.images, support.texts, one_hot(support.labels, 5)
    w = np.array([x[support.labels == c].sum(axis=0) for c in range(5)])
    a = np.full(5, 250 * np.mean([(x[support.labels == c] @ t[c]).mean() for c in range(5)]))
    found = list(lp_plus_plus.descend(support, tuple(range(1, 40))))
    losses = []
    for weights in found:
        p = softmax(x @ w.T + (x @ t.T) * a)
        w = w - 2 * len(x) / np.linalg.eigvalsh(x.T @ x)[-1] * (p - y).T @ x / len(x)
        p = softmax(x @ w.T + (x @ t.T) * a)
        for c in range(5):
            a[c] -= 2 * len(x) / ((x @ t[c]) ** 2).sum() * ((p - y)[:, c] * (x @ t[c])).sum() / len(x)
        assert np.allclose(weights, w + a[:, None] * t, atol=1e-6)
        losses.append(-np.log(softmax(x @ weights.T)[np.arange(len(x)), support.labels]).mean())
    assert (np.diff(losses) <= 1e-12).all()


def _adam(
    weights: list[np.ndarray], gradient: Callable[[list[np.ndarray]], list[np.ndarray]], rate: float, num_steps: int
) -> list[np.ndarray]:
    first, second = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    for step in range(num_steps):
        current = rate * (1 + np.cos(np.pi * step / num_steps)) / 2
        for number, g in enumerate(gradient(weights)):
            first[number] = 0.9 * first[number] + 0.1 * g
            second[number] = 0.999 * second[number] + 0.001 * g**2
            m, v = first[number] / (1 - 0.9 ** (step + 1)), second[number] / (1 - 0.999 ** (step + 1))
            weights[number] = weights[number] - current * m / (np.sqrt(v) + 1e-8)
    return weights


def _through_unit_length(values: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """The gradient by rows before they are scaled to unit length."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / lengths
    result: np.ndarray = (gradient - unit * (gradient * unit).sum(axis=1, keepdims=True)) / lengths
    return result


def test_taskres_equals_plain_numpy() -> None:
    support, queries, _ = plant()
    x, t, y, s = support.images, support.texts, one_hot(support.labels, 5), support.logit_scale

    def gradient(weights: list[np.ndarray]) -> list[np.ndarray]:
        moved = t + 0.5 * weights[0]
        residual = (softmax(s * x @ (moved / np.linalg.norm(moved, axis=1, keepdims=True)).T) - y) / len(x)
        return [0.5 * _through_unit_length(moved, s * residual.T @ x)]

    [residuals] = _adam([np.zeros_like(t)], gradient, taskres.LEARNING_RATE, taskres.NUM_STEPS)
    heads = t + 0.5 * residuals
    expected = s * queries.astype(float) @ (heads / np.linalg.norm(heads, axis=1, keepdims=True)).T
    assert np.allclose(fit_classifier("taskres", support)(queries), expected, atol=1e-6)


def test_clip_adapter_equals_plain_numpy() -> None:
    support, queries, _ = plant()
    x, t, y, s = support.images, support.texts, one_hot(support.labels, 5), support.logit_scale

    def gradient(weights: list[np.ndarray]) -> list[np.ndarray]:
        u, v = weights
        inner = np.maximum(x @ u.T, 0)
        outer = np.maximum(inner @ v.T, 0)
        mixed = 0.2 * outer + 0.8 * x
        residual = (softmax(s * mixed / np.linalg.norm(mixed, axis=1, keepdims=True) @ t.T) - y) / len(x)
        at_outer = 0.2 * _through_unit_length(mixed, s * residual @ t) * (outer > 0)
        return [((at_outer @ v) * (inner > 0)).T @ x, at_outer.T @ inner]

    start = clip_adapter.initial_weights(12, support.seed)
    u, v = _adam(start, gradient, clip_adapter.LEARNING_RATE, clip_adapter.NUM_STEPS)
    mixed = 0.2 * np.maximum(np.maximum(queries.astype(float) @ u.T, 0) @ v.T, 0) + 0.8 * queries.astype(float)
    expected = s * mixed / np.linalg.norm(mixed, axis=1, keepdims=True) @ t.T
    found = fit_classifier("clip_adapter", support)(queries)
    assert np.allclose(found, expected, atol=1e-6)
    assert not np.allclose(found, fit_classifier("clip_adapter", replace(support, seed=6))(queries), atol=1e-6)


def test_tip_adapter_f_equals_plain_numpy() -> None:
    support, queries, _ = plant()
    x, t, y = support.images, support.texts, one_hot(support.labels, 5)
    found = fit_classifier("tip_adapter_f", support)
    alpha, beta = found.chosen["alpha"], found.chosen["beta"]
    assert found.chosen == fit_classifier("tip_adapter", support).chosen

    def gradient(weights: list[np.ndarray]) -> list[np.ndarray]:
        near = np.exp(beta * (x @ weights[0].T - 1))
        residual = (softmax(100 * x @ t.T + alpha * near @ y) - y) / len(x)
        return [(alpha * beta * (residual @ y.T) * near).T @ x]

    [keys] = _adam([x.copy()], gradient, tip_adapter_f.LEARNING_RATE, tip_adapter_f.NUM_STEPS)
    asked = queries.astype(float)
    assert np.allclose(found(queries), 100 * asked @ t.T + alpha * np.exp(beta * (asked @ keys.T - 1)) @ y, atol=1e-6)
