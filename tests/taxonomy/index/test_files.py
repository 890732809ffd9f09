from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from bioclip.errors import BackboneError
from bioclip.taxonomy.backbones.dwca import DwcaBackbone
from bioclip.taxonomy.index.build import key_column
from bioclip.taxonomy.index.files import build_index, inspect_source, open_index, read_info
from bioclip.taxonomy.index.usage_columns import canonical_names
from bioclip.taxonomy.names.keys import canonical_name, name_key
from bioclip.taxonomy.names.ranks import normalise_rank
from flows.commands.cli import main
from tests.taxonomy.backbones.backbone_downloads import gbif, plain_table
from tests.taxonomy.sample_backbone import SAMPLE_BACKBONE


def test_an_unchanged_download_is_compiled_once_and_a_changed_one_again(tmp_path: Path) -> None:
    source = plain_table(tmp_path)
    target, info, is_new = build_index(source, tmp_path / "out")
    before = target.read_bytes()
    assert is_new
    assert build_index(source, tmp_path / "out") == (target, info, False)
    source.write_text(source.read_text().replace("Linnaeus", "L."))
    other, _, is_new = build_index(source, tmp_path / "out")
    assert (is_new, other != target, target.read_bytes()) == (True, True, before)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([target.name, other.name]), "nothing half-written stays"


def test_the_same_download_gives_the_same_bytes_at_any_location(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    copy = tmp_path / "a" / SAMPLE_BACKBONE.name
    copy.write_bytes(SAMPLE_BACKBONE.read_bytes())
    one, other = build_index(SAMPLE_BACKBONE, tmp_path / "b")[0], build_index(copy, tmp_path / "c")[0]
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()


def test_a_mapped_index_answers_as_one_in_memory(tmp_path: Path, sample_index, sample_backbone) -> None:
    path, info, _ = build_index(SAMPLE_BACKBONE, tmp_path)
    held = pa.total_allocated_bytes()
    index = open_index(path)
    assert pa.total_allocated_bytes() - held < path.stat().st_size / 10, "columns are mapped, not read"
    assert index.name == "sample-backbone.zip"
    assert info.counts["written"] == len(index) == len(sample_index)
    for name in sorted(set(sample_backbone.table["name"].to_pylist()))[::50]:
        assert index.candidates(name) == sample_index.candidates(name)
    assert index.candidates("Nullus nusquam") == index.candidates("") == index.candidates("zzz") == []


def test_many_keys_are_found_at_once(sample_index) -> None:
    keys = sample_index.column("key")
    wanted = pa.array([keys[0].as_py(), "nullus nusquam", keys[len(keys) - 1].as_py()])
    first = sample_index.first_rows(wanted)
    assert first[0] == 0
    assert first[1] == -1
    assert keys[int(first[2])].as_py() == wanted[2].as_py()
    assert first[2] == 0 or keys[int(first[2]) - 1].as_py() != wanted[2].as_py()


def test_damaged_and_foreign_indexes_are_refused(tmp_path: Path) -> None:
    path, _, _ = build_index(plain_table(tmp_path), tmp_path)
    torn = tmp_path / "torn.arrow"
    torn.write_bytes(path.read_bytes()[:-100])
    foreign = tmp_path / "foreign.arrow"
    with pa.ipc.new_file(str(foreign), pa.schema([("a", pa.int8())])):
        pass
    bare = tmp_path / "bare.arrow"
    table = pa.ipc.open_file(str(path)).read_all().replace_schema_metadata()
    with pa.ipc.new_file(str(bare), table.schema) as writer:
        writer.write_table(table)
    for file, rule in ((torn, "damaged"), (foreign, "other columns"), (bare, "has no metadata"), (tmp_path / "no.arrow", "does not exist")):
        with pytest.raises(BackboneError, match=rule):
            read_info(file)


def test_a_download_without_a_usable_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("id,scientific_name,rank\n1,life,no rank\n")
    with pytest.raises(BackboneError, match=r"no usable name among 1 usages .*no_linnaean_rank"):
        inspect_source(tmp_path / "list.csv")
    with pytest.raises(BackboneError, match="does not exist"):
        inspect_source(tmp_path / "nowhere.csv")


def test_the_command_builds_and_tells(tmp_path: Path, capsys) -> None:
    source = gbif(tmp_path)
    assert main(["backbone", "build", str(source), "--output", str(tmp_path / "out")]) == 0
    built = capsys.readouterr().out
    (index,) = (tmp_path / "out").iterdir()
    assert "usages    7 read = 7 written + 0 dropped" in built
    assert built.endswith(f"written: {index}\n")
    assert "rank_repaired_class" in built
    assert "e.g. 1153, 2366636, 2366645, 4285" in built
    for path in (index, source):
        assert main(["backbone", "info", str(path)]) == 0
        assert capsys.readouterr().out.splitlines() == built.splitlines()[:-1]
    assert main(["backbone", "build", str(source), "--format", "excel"]) == 2
    assert "known: auto, coldp, dwca" in capsys.readouterr().err


def test_names_cut_by_columns_are_those_that_the_parser_gives() -> None:
    table = pa.concat_tables(DwcaBackbone(SAMPLE_BACKBONE).tables()).combine_chunks()
    bare = table.set_column(table.schema.get_field_index("canonical_name"), "canonical_name", pa.repeat(pa.scalar(""), table.num_rows))
    for usages in (table, bare):
        rows = usages.select(["scientific_name", "authorship", "canonical_name", "rank"]).to_pylist()
        expected = [canonical_name(r["scientific_name"], r["authorship"], r["canonical_name"], normalise_rank(r["rank"])) for r in rows]
        assert canonical_names(usages).to_pylist() == expected


def test_keys_made_by_columns_are_those_made_one_by_one(sample_index) -> None:
    odd = ["Citrus × paradisi", "Aus forma bus", "Aus bus f. cus", "", "Žižia aurea", "Tobacco mosaic virus", "Aus b-cus", "Formaus bus"]
    names = pa.concat_arrays([pc.unique(sample_index.column("name")), pa.array(odd)])
    assert key_column(names).to_pylist() == [name_key(name) for name in names.to_pylist()]
