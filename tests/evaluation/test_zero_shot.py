from __future__ import annotations

import numpy as np
import pytest

from bioclip.errors import UnknownNameError
from bioclip.evaluation.benchmark import SpeciesClass
from bioclip.evaluation.benchmarks import BENCHMARKS, build_benchmark
from bioclip.evaluation.metrics import METRICS
from bioclip.evaluation.rank_rollup import taxa_at
from bioclip.evaluation.statistics import Measurement, place_truth, top_credit
from bioclip.evaluation.tasks.zero_shot import find_shared_prompts, predict
from bioclip.records import RANKS
from bioclip.releases import Release

CLASSES = tuple(
    sorted(
        SpeciesClass(lineage, "")
        for lineage in [
            ("Animalia", "Chordata", "Actinopteri", "Labriformes", "Labridae", "Hemigymnus", "Hemigymnus fasciatus"),
            ("Animalia", "Chordata", "Actinopteri", "Labriformes", "Labridae", "Hemigymnus", "Hemigymnus melapterus"),
            ("Animalia", "Chordata", "", "Labriformes", "Labridae", "Prunella", "Prunella modularis"),
            ("Plantae", "Tracheophyta", "Magnoliopsida", "Lamiales", "Lamiaceae", "Prunella", "Prunella vulgaris"),
            ("Plantae", "Tracheophyta", "Magnoliopsida", "Rosales", "Rosaceae", "Malus", "Malus domestica"),
            ("Fungi", "Basidiomycota", "Agaricomycetes", "Boletales", "Boletaceae", "Boletus", "Boletus edulis"),
        ]
    )
)


def _unit(random: np.random.Generator, rows: int) -> np.ndarray:
    values = random.normal(size=(rows, 5)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def _by_metric(images: np.ndarray, heads: np.ndarray, labels: np.ndarray) -> dict[tuple[str, str], Measurement]:
    answers = predict(images, heads, 7.0, labels, CLASSES, RANKS, "taxon")
    found = [metric(one) for one in answers for metric in METRICS.values()]
    return {(str(m.parameters["rank"]), m.metric): m for m in found if m is not None}


def test_each_rank_equals_a_plain_sum_over_its_species() -> None:
    random = np.random.default_rng(3)
    images, heads, labels = _unit(random, 40), _unit(random, 6), random.integers(6, size=40)
    found = _by_metric(images, heads, labels)
    for depth, rank in enumerate(RANKS, start=1):
        paths = [c.lineage[:depth] for c in CLASSES]
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            weights = np.exp(7.0 * (heads @ image).astype(np.float64))
            summed = {path: sum(w for w, p in zip(weights, paths, strict=True) if p == path) for path in sorted(set(paths))}
            expected = max(summed, key=summed.__getitem__) == paths[label] and bool(paths[label][-1])
            assert found[rank, "top1"].statistic.hits[number] == expected
            assert found[rank, "top1"].statistic.trials[number] == bool(paths[label][-1])


def test_a_rank_at_which_no_image_has_a_name_is_left_out() -> None:
    """Labels of a user's own folders have no higher taxa."""
    classes = (SpeciesClass(("",) * 6 + ("my cat",), ""), SpeciesClass(("",) * 6 + ("my dog",), ""), *CLASSES)
    random = np.random.default_rng(5)
    images, heads, labels = _unit(random, 4), _unit(random, len(classes)), np.array([0, 1, 0, 1])
    answers = predict(images, heads, 7.0, labels, classes, RANKS, "taxon")
    assert [one.parameters["rank"] for one in answers] == ["species"]
    assert all(metric(answers[0]) is not None for metric in METRICS.values())


def test_top5_counts_a_truth_among_the_five_best() -> None:
    random = np.random.default_rng(4)
    images, heads, labels = _unit(random, 60), _unit(random, 6), random.integers(6, size=60)
    worst = (images @ heads.T).argmin(axis=1)
    assert np.array_equal(_by_metric(images, heads, labels)["species", "top5"].statistic.hits, (labels != worst).astype(float))


def test_a_genus_name_of_two_kingdoms_is_two_genera() -> None:
    genera = taxa_at(CLASSES, "genus").of_species
    numbers = {c.lineage[-1]: number for c, number in zip(CLASSES, genera, strict=True)}
    assert numbers["Prunella modularis"] != numbers["Prunella vulgaris"]
    assert numbers["Hemigymnus fasciatus"] == numbers["Hemigymnus melapterus"]


def test_chance_is_that_of_naming_a_species_at_random() -> None:
    labels = np.array([0, 1, 2, 5, 5])
    random = np.random.default_rng(1)
    found = _by_metric(_unit(random, 5), _unit(random, 6), labels)
    assert found["species", "top1"].chance == pytest.approx(1 / 6)
    assert found["species", "top5"].chance == pytest.approx(5 / 6)
    kingdoms = [c.lineage[0] for c in CLASSES]
    assert found["kingdom", "top1"].chance == pytest.approx(np.mean([kingdoms.count(kingdoms[label]) / 6 for label in labels]))
    assert found["class", "top1"].num_classes == 3, "an empty rank is no taxon"


def test_a_model_that_says_the_same_of_everything_is_no_better_than_chance() -> None:
    labels = np.arange(6)
    found = _by_metric(np.ones((6, 5), np.float32), np.ones((6, 5), np.float32), labels)
    assert found["species", "top1"].statistic.hits == pytest.approx(np.full(6, 1 / 6))
    assert found["species", "top5"].statistic.hits == pytest.approx(np.full(6, 5 / 6))


def test_species_with_one_prompt_share_the_credit_at_every_rank_that_separates_them() -> None:
    """Two species of one genus are one taxon above the species; two alone in their orders are a tie up to the order."""
    for first, second, is_one_taxon, tied_ranks in ((1, 2, True, ("species",)), (3, 5, False, ("order", "family", "genus", "species"))):
        heads = _unit(np.random.default_rng(7), 6)
        heads[second] = heads[first]
        labels = np.array([first, second, first, second])
        found = _by_metric(heads[labels], heads, labels)
        for rank in RANKS:
            if rank in tied_ranks:
                assert found[rank, "top1"].statistic.hits == pytest.approx(np.full(4, 0.5)), rank
            elif is_one_taxon:
                assert found[rank, "top1"].statistic.hits == pytest.approx(np.ones(4)), rank
        assert found["species", "top5"].statistic.hits == pytest.approx(np.ones(4))


def test_ties_beyond_the_fifth_place_give_part_of_the_credit_for_top5() -> None:
    """Three classes share the places 4, 5 and 6."""
    heads = np.zeros((6, 5), np.float32)
    heads[[0, 1, 2], [0, 1, 2]] = 1
    heads[[3, 4, 5], 3] = 1
    image = np.array([[0.7, 0.5, 0.4, 0.3, 0.0]], np.float32) / np.linalg.norm([0.7, 0.5, 0.4, 0.3])
    for label, credit in ((0, 1.0), (2, 1.0), (3, 2 / 3), (4, 2 / 3), (5, 2 / 3)):
        hits = _by_metric(image.astype(np.float32), heads, np.array([label]))["species", "top5"].statistic.hits
        assert hits.tolist() == pytest.approx([credit])


def test_a_rank_at_which_no_image_is_named_has_no_score() -> None:
    random = np.random.default_rng(5)
    found = _by_metric(_unit(random, 2), _unit(random, 6), np.array([0, 0]))
    assert CLASSES[0].lineage[2] == ""
    assert {rank for rank, _ in found} == set(RANKS) - {"class"}


def test_the_order_of_the_classes_does_not_decide_a_tie() -> None:
    random = np.random.default_rng(8)
    scores = random.integers(0, 3, size=(50, 8)).astype(np.float64)
    labels, order = random.integers(8, size=50), random.permutation(8)
    moved = scores[:, order], np.argsort(order)[labels]
    for top in (1, 5):
        assert np.array_equal(top_credit(*place_truth(scores, labels), top), top_credit(*place_truth(*moved), top))


def test_the_credit_for_ties_sums_to_the_number_of_places() -> None:
    """Over all classes as the truth, the credits of one image are the places that there are: nothing is given twice or lost."""
    scores = np.random.default_rng(9).integers(0, 4, size=(30, 12)).astype(np.float64)
    for top in (1, 5):
        found = [top_credit(*place_truth(scores, np.full(30, label)), top) for label in range(12)]
        assert np.sum(found, axis=0) == pytest.approx(np.full(30, top))


def test_equal_captions_tie_exactly_in_a_large_product() -> None:
    """A matrix product may round a column by its place; equal captions must not be separated by that."""
    random = np.random.default_rng(10)
    heads = random.normal(size=(203, 77)).astype(np.float32)
    heads[[5, 60, 202]] = heads[5]
    images = random.normal(size=(301, 77)).astype(np.float32)
    classes = [SpeciesClass((*"abcdef", f"species {number:03d}"), "") for number in range(203)]
    (found,) = predict(images, heads, 1.0, np.full(301, 202), classes, ["species"], "com")
    assert found.num_tied is not None
    assert set(found.num_tied.tolist()) == {3}


def test_shared_prompts_are_counted_with_examples() -> None:
    prompts = ["bird", "fish", "bird", "moss", "fish", "fern"]
    heads = _unit(np.random.default_rng(11), 6)
    heads[2], heads[4] = heads[0], heads[1]
    found = find_shared_prompts(prompts, heads, list("ABCDEF"))
    assert found == {
        "num_classes": 4,
        "num_prompts": 2,
        "examples": [{"prompt": "bird", "classes": ["A", "C"]}, {"prompt": "fish", "classes": ["B", "E"]}],
    }
    assert find_shared_prompts(prompts[:1], heads[:1], ["A"]) == {}


def test_benchmarks_take_their_images_and_answers_from_the_right_splits(release: Release) -> None:
    rows = release.samples().to_pylist()
    species = {split: {row["species"] for row in rows if row["split"] == split} for split in ("train", "val", "heldout")}
    known, heldout, generalised = (build_benchmark(name, release) for name in ("known_species", "heldout_species", "heldout_generalised"))
    assert {c.lineage[-1] for c in known.classes} == species["train"]
    assert {c.lineage[-1] for c in heldout.classes} == species["heldout"]
    assert {c.lineage[-1] for c in generalised.classes} == species["train"] | species["heldout"]
    truth = {row["record_id"]: row["species"] for row in rows}
    for benchmark, split in ((known, "val"), (heldout, "heldout"), (generalised, "heldout")):
        assert len(benchmark.labels) == release.num_samples(split)
        assert all(benchmark.classes[label].lineage[-1] == truth[key] for key, label in benchmark.labels.items())


def test_an_unknown_benchmark_is_named_with_those_there_are(release: Release) -> None:
    with pytest.raises(UnknownNameError, match=f"known: {', '.join(sorted(BENCHMARKS))}"):
        build_benchmark("rare_species", release)
