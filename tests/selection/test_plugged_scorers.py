"""A scorer of the user's own: the one that the documentation shows, and what is wrong with others."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bioclip.errors import SettingsError
from bioclip.scorers import build_scorer
from bioclip.scorers.stage import plan_scores
from bioclip.selection.filters import read_scores
from tests.conftest import Curated, run_jobs
from tests.leakage.planting import photographs
from tests.selection.conftest import Workspace

DOCS = Path(__file__).parents[2] / "docs" / "concepts" / "release-rules.md"
ROTTEN = """
class Scorer:
    identity = {"version": 1}
    def score(self, images):
        %s
def build(options, batch_size):
    return Scorer()
"""

WriteModule = Callable[[str, str], None]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteModule]:
    """Writes a module that can be imported as long as the test runs."""
    written: list[str] = []
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


def documented() -> str:
    """The scorer in the documentation."""
    [code] = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return str(code)


def picture(colour: tuple[int, int, int]) -> bytes:
    """A PNG of one colour."""
    sink = io.BytesIO()
    Image.new("RGB", (80, 60), colour).save(sink, "PNG")
    return sink.getvalue()


class TestTheDocumentedOne:
    def test_it_tells_skin_from_leaves(self, write_module: WriteModule) -> None:
        write_module("skin_share", documented())
        images = [("skin", picture((224, 172, 138))), ("leaf", picture((40, 130, 40))), ("photo", photographs(1)[0])]
        scores = dict(build_scorer("skin_share:build", {"side_px": 32}, 8).score(images))
        assert (scores["skin"], scores["leaf"]) == (1.0, 0.0)
        assert 0 <= scores["photo"] < 1

    def test_it_filters_a_release_and_its_code_is_part_of_the_scores(
        self, curated: Curated, tmp_path: Path, write_module: WriteModule
    ) -> None:
        write_module("skin_share", documented())
        workspace = Workspace(curated, tmp_path / "workspace")
        rules = {"filters": [{"name": "people", "scorer": "skin_share:build", "threshold": 0.5, "keep": "at_most"}]}
        run_jobs(workspace.storage, "scores", plan_scores(workspace.storage, workspace.settings(**rules)))
        rows, counts = workspace.assign(**rules)
        table = read_scores(workspace.storage, "people")
        scores = dict(zip(table["record_id"].to_pylist(), table["score"].to_pylist(), strict=True))
        dropped = {row["record_id"] for row in rows if row["drop_reason"] == "filter_people"}
        assert counts.dropped["filter_people"] == len(dropped) > 0
        assert round(sum(score > 0.5 for score in scores.values()) / len(scores), 2) == 0.43, "the documentation states this share"
        assert all(scores[record_id] > 0.5 for record_id in dropped)
        assert all(scores[row["record_id"]] <= 0.5 for row in rows if row["split"])
        assert all(job.done() for job in plan_scores(workspace.storage, workspace.settings(**rules)))
        write_module("skin_share", documented().replace("133 <=", "130 <="))
        assert not any(job.done() for job in plan_scores(workspace.storage, workspace.settings(**rules)))


class TestWrongOnes:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("no_such_module:build", r"module 'no_such_module' cannot be imported \(ModuleNotFoundError.*PYTHONPATH"),
            ("rotten:", "has no function ''"),
            ("rotten:make", "module 'rotten' has no function 'make'"),
            ("rotten:Scorer", r"cannot be built: .*it is called with \(options, batch_size\)"),
            ("rotten:nothing", "gave a NoneType, which has no `score` and `identity`"),
            ("rotten:unsaid", "its identity must be JSON values"),
            ("rotten:greedy", "refuses its options: KeyError: 'model'"),
        ],
    )
    def test_what_is_missing_is_named(self, write_module: WriteModule, name: str, message: str) -> None:
        write_module(
            "rotten",
            ROTTEN % "return []"
            + "def nothing(options, batch_size): pass\n"
            + "def unsaid(options, batch_size):\n    one = Scorer()\n    one.identity = {1, 2}\n    return one\n"
            + "def greedy(options, batch_size): return options['model']\n",
        )
        with pytest.raises(SettingsError, match=message):
            build_scorer(name, {}, 8)

    def test_a_module_that_fails_when_imported_is_named_with_its_error(self, write_module: WriteModule) -> None:
        write_module("rotten", "import no_such_package_of_anyone\n")
        with pytest.raises(SettingsError, match=r"module 'rotten' cannot be imported .*no_such_package_of_anyone"):
            build_scorer("rotten:build", {}, 8)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("return [0.5 for _ in images]", r"gave 0.5; it must yield \(record id, number\)"),
            ("return [(key, [1, 2]) for key, _ in images]", r"gave \('a', \[1, 2\]\); it must yield"),
            ("return [(key, float('nan')) for key, _ in images]", "gave nan for 'a'; leave out"),
            ("return [('z', 1.0)]", "gave 'z' twice or without being asked for it"),
            ("return [('a', 1.0), ('a', 1.0)]", "gave 'a' twice or without being asked for it"),
            ("return None", "failed on a batch of 2 images: TypeError"),
            ("raise RuntimeError('no weights')", "failed on a batch of 2 images: RuntimeError: no weights"),
        ],
    )
    def test_an_answer_of_the_wrong_shape_is_shown(self, write_module: WriteModule, body: str, message: str) -> None:
        write_module("rotten", ROTTEN % body)
        images: Any = [("a", b""), ("b", b"")]
        with pytest.raises(SettingsError, match=message):
            list(build_scorer("rotten:build", {}, 8).score(images))

    def test_images_may_be_left_out_and_whole_numbers_are_scores(self, write_module: WriteModule) -> None:
        write_module("fine", ROTTEN % "yield 'b', 3")
        assert list(build_scorer("fine:build", {}, 8).score([("a", b""), ("b", b"")])) == [("b", 3.0)]
