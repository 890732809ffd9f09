"""BioCLIP's own label files: as many images and classes as they list, and the class texts of its evaluation."""

from __future__ import annotations

import csv
import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bioclip.evaluation.benchmarks.catalog import catalog_entry
from bioclip.evaluation.benchmarks.class_texts import bioclip_texts
from bioclip.evaluation.benchmarks.references import BenchmarkRef
from bioclip.models.clip import create_model, save_model
from bioclip.storage import Storage
from flows.commands.cli import main
from tests.training.conftest import TINY_MODEL

LABEL_FILES = sorted((Path(__file__).parent / "label_files").glob("*.csv"))
NAMES = [file.stem for file in LABEL_FILES]


def write_set(folder: Path, labels: Path) -> list[dict[str, str]]:
    """BioCLIP's folder layout with generated images, one colour per path; returns the rows of the label file."""
    folder.mkdir(parents=True)
    (folder / "metadata.csv").write_bytes(labels.read_bytes())
    with labels.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        path = folder / row["filepath"]
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(zlib.crc32(row["filepath"].encode())).integers(0, 256, size=(24, 32, 3), dtype=np.uint8)
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, "PNG" if path.suffix.lower() == ".png" else "JPEG")
        path.write_bytes(sink.getvalue())
    return rows


def text_of(row: dict[str, str], text_type: str) -> str:
    """BioCLIP's rule, written from the description of its evaluation for a row in which every rank is filled."""
    if text_type == "asis":
        return row["class"]
    genus, epithet = row["genus"].capitalize(), row["species"].lower()
    ranks = [row[rank].capitalize() for rank in ("kingdom", "phylum", "cls", "order", "family")]
    first = {"sci": f"{genus} {epithet}", "taxon": " ".join([*ranks, genus, epithet])}
    name, _, common = text_type.partition("_")
    if name == "com":
        return row["common_name"]
    return first[name] + (f" with common name {row['common_name']}" if common else "")


def test_every_label_file_of_the_catalog_has_a_cut_here() -> None:
    assert len(NAMES) == 10
    assert all(catalog_entry(name).num_images and catalog_entry(name).num_classes for name in NAMES)


@pytest.mark.parametrize("labels", LABEL_FILES, ids=NAMES)
def test_class_texts_are_those_of_bioclips_evaluation(labels: Path, tmp_path: Path) -> None:
    rows = write_set(tmp_path / "set", labels)
    (benchmark,) = BenchmarkRef.parse(f"{labels.stem}={tmp_path / 'set'}").build()
    text_types = ("asis", "sci", "com", "taxon", "sci_com", "taxon_com") if "cls" in rows[0] else ("asis",)
    assert set(benchmark.texts) == set(text_types)
    for text_type in text_types:
        texts = benchmark.texts[text_type]
        assert {row["filepath"]: text_of(row, text_type) for row in rows} == {key: texts[label] for key, label in benchmark.labels.items()}
        assert set(texts) == {text_of(row, text_type) for row in rows}
    assert benchmark.caption_types == (("taxon_com",) if "cls" in rows[0] else ("asis",))


def test_every_label_file_is_evaluated_with_its_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(Storage(str(tmp_path)), "model", create_model(TINY_MODEL, seed=1))
    words = ["evaluate", str(tmp_path / "model"), "--workspace", str(tmp_path / "workspace"), "--json"]
    words += [
        "--set",
        "evaluation.num_bootstraps=10",
        "--set",
        "evaluation.shots=[1]",
        "--set",
        "evaluation.num_folds=2",
        "--set",
        "tracking.enabled=false",
    ]
    expected = {}
    for labels in LABEL_FILES:
        rows = write_set(tmp_path / labels.stem, labels)
        words += ["--benchmark", f"{labels.stem}={tmp_path / labels.stem}"]
        expected[labels.stem] = (len(rows), len({row["class"] for row in rows}))
    assert main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    zero_shot = [one for one in answer["scores"] if one["measure"].startswith("zero-shot")]
    assert {one["benchmark"]: (one["num_images"], one["num_classes"]) for one in zero_shot} == expected
    assert {one["measure"] for one in zero_shot} == {"zero-shot top-1, asis", "zero-shot top-1, taxon_com"}


def test_two_species_with_one_common_name_are_a_tie_in_that_text_alone(tmp_path: Path) -> None:
    write_set(tmp_path / "set", LABEL_FILES[NAMES.index("rare_species")])
    (benchmark,) = BenchmarkRef.parse(f"rare_species={tmp_path / 'set'}").build()
    distinct = {text_type: len(set(texts)) for text_type, texts in benchmark.texts.items()}
    assert distinct == {"asis": 5, "sci": 5, "com": 4, "taxon": 5, "sci_com": 5, "taxon_com": 5}


@pytest.mark.parametrize(
    ("names", "common_name", "texts"),
    [
        ({"kingdom": "animalia", "genus": "pica", "epithet": "Pica"}, "", {"sci": "Pica pica", "taxon": "Animalia     Pica pica"}),
        ({"genus": "PICA", "epithet": "pica"}, "magpie", {"taxon": "Pica pica", "sci_com": "Pica pica with common name magpie"}),
        ({"kingdom": "Animalia", "genus": "Pica"}, "", {"sci": "Pica", "sci_com": "Pica"}),
        ({"kingdom": "Animalia"}, "magpie", {"asis": "a label", "com": "magpie"}),
    ],
)
def test_holes_and_case_are_written_as_bioclip_writes_them(names: dict[str, str], common_name: str, texts: dict[str, str]) -> None:
    found = bioclip_texts(names, common_name, "a label")
    assert {kind: found[kind] for kind in texts} == texts
    assert "sci" in found or "genus" not in names
