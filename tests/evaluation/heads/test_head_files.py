"""Head files and label sets."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bioclip.errors import EvaluationError, ModelError
from bioclip.evaluation.benchmark import SpeciesClass
from bioclip.evaluation.heads.head_file import HeadStore, head_bytes, read_head
from bioclip.evaluation.heads.label_set import among_names, in_clade, restrict
from bioclip.storage import Storage
from tests.evaluation.test_zero_shot import CLASSES

WITH_HOLES = (
    SpeciesClass(("Animalia", "Chordata", "", "Cypriniformes", "Cyprinidae", "Carassius", "Carassius auratus"), "goldfish"),
    SpeciesClass(("", "", "", "", "", "", "my cat"), ""),
    SpeciesClass(("Plantae", "", "", "", "", "×Hesperotropsis", "×Hesperotropsis leylandii"), "Leyland cypress"),
)


def vectors(num: int) -> np.ndarray:
    rows = np.random.default_rng(3).normal(size=(num, 24)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_head_file_gives_back_identifiers_and_lineages_without_loss() -> None:
    ids = ("gbif:2366645", "cat", "gbif:Ω")
    data = head_bytes(ids, WITH_HOLES, vectors(3), {"head": "no_template", "logit_scale": "14.3"})
    found = read_head(io.BytesIO(data))
    assert found.class_ids == ids
    assert found.classes == WITH_HOLES
    assert np.array_equal(found.vectors, vectors(3).astype(np.float16).astype(np.float32))
    assert (found.facts["head"], found.facts["logit_scale"]) == ("no_template", "14.3")


def test_names_of_a_head_file_are_interned_and_vectors_take_two_bytes() -> None:
    classes = [SpeciesClass(("Animalia", "Chordata", "Aves", "", "", "Genus", f"Genus s{n}"), "") for n in range(70_000)]
    values = np.tile(vectors(1_000), (70, 1))
    data = head_bytes([str(n) for n in range(70_000)], classes, values, {})
    assert len(data) < 70_000 * (24 * 2 + 40)
    table = pq.read_table(io.BytesIO(data))
    assert pa.types.is_dictionary(table.schema.field("class").type)
    found = read_head(io.BytesIO(data))
    assert found.classes == tuple(classes)
    assert np.array_equal(found.vectors, values.astype(np.float16).astype(np.float32))


def test_what_is_no_head_is_refused() -> None:
    with pytest.raises(ModelError, match="one identifier per class"):
        head_bytes(("a", "a", "b"), WITH_HOLES, vectors(3), {})
    with pytest.raises(ModelError, match="one identifier per class"):
        head_bytes(("a", "b", "c"), WITH_HOLES, vectors(3) * np.float32(np.nan), {})
    with pytest.raises(ModelError, match="cannot be read"):
        read_head(io.BytesIO(b"nothing"), "x.parquet")
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    with pytest.raises(ModelError, match="is no head"):
        read_head(io.BytesIO(sink.getvalue()), "x.parquet")


def test_a_store_keeps_heads_by_model_and_key(tmp_path: Path) -> None:
    store = HeadStore(Storage(str(tmp_path)), "m" * 64)
    assert store.read("k" * 64) is None
    written = store.write("k" * 64, WITH_HOLES, vectors(3), {"logit_scale": "1.0"})
    again = store.read("k" * 64)
    assert again is not None
    assert np.array_equal(again.vectors, written.vectors)
    assert again.classes == WITH_HOLES
    assert HeadStore(Storage(str(tmp_path)), "n" * 64).read("k" * 64) is None


def test_a_clade_is_named_by_its_name_or_with_its_rank() -> None:
    assert [CLASSES[one].lineage[-1] for one in in_clade(CLASSES, "Plantae").chosen] == ["Prunella vulgaris", "Malus domestica"]
    assert len(in_clade(CLASSES, "genus:Hemigymnus").chosen) == 2
    with pytest.raises(EvaluationError, match="genus:Prunella in Animalia; genus:Prunella in Plantae"):
        in_clade(CLASSES, "Prunella")
    with pytest.raises(EvaluationError, match="leaves 0 of 6 classes"):
        restrict(CLASSES, "Mammalia")


def test_a_list_counts_names_with_authors_and_reports_the_unknown() -> None:
    found = among_names(CLASSES, ["Malus domestica (Suckow) Borkh.", "Boletus edulis", "Ursus arctos", " "])
    assert [CLASSES[one].lineage[-1] for one in found.chosen] == ["Boletus edulis", "Malus domestica"]
    assert found.unknown == ("Ursus arctos",)


@pytest.mark.parametrize("name", ["names.txt", "region.csv", "region.tsv", "region.parquet"])
def test_a_region_is_the_names_of_its_occurrence_table(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    names = ["Boletus edulis", "Malus domestica", "Boletus edulis"]
    if path.suffix == ".txt":
        path.write_text("\n".join(names))
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({"species": names, "decimalLatitude": [1.0, 2.0, 3.0]}), path)
    else:
        path.write_text(
            "\n".join(",".join(("1", one)).replace(",", "," if path.suffix == ".csv" else "\t") for one in ["scientificName", *names])
        )
    assert len(restrict(CLASSES, str(path)).chosen) == 2


def test_a_table_without_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "region.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(EvaluationError, match="has columns a, b, but none is species"):
        restrict(CLASSES, str(path))
    with pytest.raises(EvaluationError, match="cannot be read"):
        restrict(CLASSES, str(tmp_path / "away.txt"))
