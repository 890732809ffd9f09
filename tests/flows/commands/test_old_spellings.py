"""Every earlier spelling gives what its present one gives on the same input."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from bioclip.sample import sample_path
from flows.commands.cli import main
from flows.commands.old_spellings import OLD_SPELLINGS, rewrite
from flows.commands.registry import COMMANDS
from tests.conftest import Curated
from tests.flows.commands.test_cli import source, write_settings

CASES = [
    (
        "resolve {names} --backbone {backbone} --output {out}.csv --strict",
        "names resolve {names} --backbone {backbone} --output {out}.csv --strict",
    ),
    ("names {names} --output {out}.csv", "names parse {names} --output {out}.csv"),
    ("names --output {out}.csv {names}", "names parse --output {out}.csv {names}"),
    ("explain Prunella --kingdom Plantae --rank genus", "names explain Prunella --kingdom Plantae --rank genus"),
    ("backbone info {backbone}", "backbone info {backbone}"),
    ("backbone build {backbone} --output {out}", "backbone build {backbone} --folder {out}"),
    ("duplicates {images} --radius 6 --output {out}", "dataset duplicates {images} --radius 6 --folder {out}"),
    ("leaks {release} --against {release} --workspace {out}", "dataset leaks {release} --against {release} --workspace {out}"),
    ("verify {release}", "release verify {release}"),
    ("releases --workspace {workspace}", "release list --workspace {workspace}"),
    ("releases --shards {version} --split val --workspace {workspace}", "release shards {version} --split val --workspace {workspace}"),
    ("diff {release} {version} --workspace {workspace}", "release diff {release} {version} --workspace {workspace}"),
    ("promote {version} --alias train --workspace {workspace}", "release promote {version} --alias train --workspace {workspace}"),
    ("export {release} {out}/copy", "release export {release} {out}/copy"),
    ("gc --workspace {workspace}", "release gc --workspace {workspace}"),
    ("gc --give-up nope --workspace {workspace}", "release gc --discard nope --workspace {workspace}"),
    ("trace {record} --release {release} --json", "release trace {record} --release {release} --json"),
    ("withdraw {record} --reason asked --workspace {out}", "release withdraw {record} --reason asked --workspace {out}"),
    ("sources diff {archive} {archive} --settings {settings}", "source diff {archive} {archive} --settings {settings}"),
]


@pytest.mark.parametrize(("old", "new"), CASES, ids=[old.split(" --")[0].replace(" {", "-").replace("}", "") for old, _ in CASES])
def test_an_earlier_spelling_gives_the_same(
    old: str, new: str, curated: Curated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "names.csv").write_text("scientific_name\nPrunella vulgaris\nPasser domesticus\n")
    settings = write_settings(tmp_path / "settings.yaml", tmp_path / "workspace", sources=source())
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.effect_noise((64, 64), 90).convert("RGB").save(images / name)
    places = {
        "names": tmp_path / "names.csv", "backbone": sample_path("backbone"), "images": images,
        "release": curated.release.storage.root, "version": curated.release.version, "workspace": curated.storage.root,
        "archive": sample_path("field-observations"), "settings": settings, "record": curated.release.samples(["record_id"])[0][0].as_py(),
    }  # fmt: skip

    def run(words: str, folder: str) -> tuple[int, str, str, dict[str, bytes]]:
        out = tmp_path / folder
        code = main([word.format(**places, out=out) for word in words.split(" ")])
        captured = capsys.readouterr()
        files = {path.relative_to(tmp_path).as_posix().replace(folder, "out"): path for path in sorted(tmp_path.rglob(f"{folder}*"))}
        contents = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
        text = re.sub(r"[\d.,]+ distinct names per second|[\d.]+ s: .*|\d+ files \(\d+ bytes\) copied", "", captured.out)
        return code, text.replace(str(out), "OUT"), captured.err.replace(str(out), "OUT"), contents

    first = run(old, "first")
    assert first == run(new, "other")
    assert first[0] == (2 if "nope" in old or "promote" in old else 0), first


def test_every_earlier_spelling_names_a_command_and_has_a_case() -> None:
    assert set(OLD_SPELLINGS.values()) <= COMMANDS.keys()
    for old in OLD_SPELLINGS:
        assert any(case.startswith(f"{old} ") for case, _ in CASES), old


@pytest.mark.parametrize(
    "words",
    [
        "release list", "names parse a.txt --output b.csv", "names resolve", "names --help", "names", "names resolv",
        "backbone build x --output x.arrow", "backbone build x --output=x.arrow", "run --settings a.yaml", "",
    ],
)  # fmt: skip
def test_a_present_spelling_is_left_as_it_is(words: str) -> None:
    assert rewrite(words.split()) == words.split()
