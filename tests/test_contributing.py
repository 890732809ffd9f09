"""Each row of CONTRIBUTING's table works as its example shows: the files are written, the lines are added, and the result is used."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Curated

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A code block: a whole file, or lines for what `name` is there; `before` is the first argument of the item that they precede."""

    path: str
    name: str
    before: str
    code: str


def sections() -> dict[str, list[Block]]:
    """The blocks of each example, by its heading in lower case."""
    found = {}
    for part in TEXT.split("\n### ")[1:]:
        blocks = re.findall(r"```(?:python|yaml|text)\n# ([\w./]+)(?:, (\w+))?(?:, before ([\w-]+))?\n(.*?)```", part, re.DOTALL)
        found[part.splitlines()[0].lower()] = [Block(*block) for block in blocks]
    return found


def table_rows() -> list[str]:
    """The first column of the table."""
    return re.findall(r"^\| (an? [^|]+) \|", TEXT, re.MULTILINE)


def write(block: Block, root: Path) -> None:
    """Write a block's file, or add its lines."""
    path = root / block.path
    if not block.name:
        assert not path.exists(), f"{block.path} exists already; the example would replace it"
        path.write_text(block.code, encoding="utf-8")
    elif block.name == "end":
        path.write_text(f"{path.read_text(encoding='utf-8')}\n{block.code}", encoding="utf-8")
    else:
        path.write_text(add_lines(path.read_text(encoding="utf-8"), block), encoding="utf-8")


def add_lines(source: str, block: Block) -> str:
    """The source with the block's lines in the literal of its name, and its imports after the other imports."""
    lines = block.code.strip().splitlines()
    imports = [line for line in lines if line.startswith(("from ", "import "))]
    added = "\n".join(line for line in lines if line not in imports)
    tree = ast.parse(source)
    literal = find_literal(tree, block.name)
    place = position(source, literal.end_lineno or 0, (literal.end_col_offset or 0) - 1)
    items = literal.elts if isinstance(literal, ast.Tuple | ast.List) else []
    for item in items:
        if block.before and isinstance(item, ast.Call) and ast.literal_eval(item.args[0]) == block.before:
            place = position(source, item.lineno, item.col_offset)
    before = source[:place].rstrip(" \n")
    comma = "" if before.endswith((",", "(", "{", "[")) else ","
    source = f"{before}{comma}\n{added}\n{source[place:]}"
    last = max((node.end_lineno or 0 for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)), default=0)
    head = source.splitlines(keepends=True)
    return "".join([*head[:last], *(f"{line}\n" for line in imports), *head[last:]])


def position(source: str, line: int, column: int) -> int:
    """Offset of a place that ast gives: lines from 1, columns in bytes."""
    lines = source.splitlines(keepends=True)
    return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())


def find_literal(tree: ast.Module, name: str) -> ast.expr:
    """The value assigned to `name`, or what the function of that name returns."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            assert node.value is not None
            return node.value
        if isinstance(node, ast.FunctionDef) and node.name == name:
            [result] = [part.value for part in ast.walk(node) if isinstance(part, ast.Return) and part.value is not None]
            return result
    raise AssertionError(f"no {name} at the top of the module")


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with all examples of CONTRIBUTING."""
    root = tmp_path_factory.mktemp("changed")
    for folder in ("bioclip", "flows", "tasks", "benchmarks", "tests"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for blocks in sections().values():
        for block in blocks:
            write(block, root)
    return root


CHECKS = {
    "a source format": """
        (tmp / "Pica pica").mkdir()
        (tmp / "Pica pica" / "1.jpg").write_bytes(b"")
        (tmp / "notes.txt").write_text("")
        from bioclip.settings import SourceSettings
        from bioclip.sources import Dropped, source_format
        source = SourceSettings(name="mine", format="labels", path=str(tmp), options={"base_url": "http://x.example"})
        record, dropped = source_format(source).read(source)
        assert (record.scientific_name, record.media_url) == ("Pica pica", "http://x.example/Pica pica/1.jpg")
        assert dropped == Dropped("not_a_jpeg")
        from bioclip.accounting import Counts
        Counts(2, 1, {"not_a_jpeg": 1})
    """,
    "a backbone format": """
        (tmp / "genera.txt").write_text("Pica\\nCorvus\\n")
        from bioclip.settings import BackboneSettings
        from bioclip.taxonomy.backbones import detect_format, open_backbone
        assert detect_format(tmp) == "genus_list"
        backbone = open_backbone(BackboneSettings(name="mine", format="genus_list", path=str(tmp)))
        assert [usage.scientific_name for usage in backbone.usages()] == ["Pica", "Corvus"]
        from bioclip.taxonomy.index.build import compile_backbone
        assert compile_backbone(backbone.usages(), ()).table.num_rows > 0
    """,
    "a caption type": """
        from bioclip.captions import TEXT_MEMBERS, captions
        from bioclip.settings import TrainingSettings
        lineage = {"genus": "Pica", "species": "Pica pica"}
        assert captions(lineage, "")["drawing"] == "a drawing of Pica pica."
        assert set(captions(lineage, "")) == set(TEXT_MEMBERS)
        assert TrainingSettings(caption_types=("drawing",)).caption_types == ("drawing",)
    """,
    "a drop reason": """
        from bioclip.accounting import Counts
        from bioclip.drop_reasons import find_reason
        assert find_reason("image_upside_down").sentence == "The image is stored upside down."
        assert Counts(3, 2, {"image_upside_down": 1}).written == 2
    """,
    "a stage": """
        import shutil
        shutil.copytree(sys.argv[2], tmp / "workspace")
        from bioclip.partitions import read_stage, run_partition, write_stage
        from bioclip.settings import PipelineSettings
        from bioclip.stages import curation_stages
        from bioclip.storage import Storage
        names = [stage.name for stage in curation_stages(PipelineSettings())]
        assert names[-2:] == ["sizes", "publish"]
        [stage] = [stage for stage in curation_stages(PipelineSettings()) if stage.name == "sizes"]
        storage = Storage(str(tmp / "workspace"))
        jobs = stage.load_plan()(storage, PipelineSettings())
        write_stage(storage, "sizes", [run_partition(job).manifest for job in jobs])
        sizes = storage.read_bytes("sizes/sizes.txt").decode().split()
        assert len(sizes) == len(read_stage(storage, "images").outputs)
        assert sum(map(int, sizes)) == read_stage(storage, "images").counts.written
    """,
    "an objective of training": """
        from bioclip.training.objectives import OBJECTIVES
        import importlib
        module, _, name = OBJECTIVES["sigmoid"].partition(":")
        assert callable(getattr(importlib.import_module(module), name))
    """,
    "a recipe of training": """
        import contextlib, io
        from flows.commands.cli import main
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert main(["recipes"]) in (0, None)
        assert "short_cpu" in printed.getvalue()
        from bioclip.settings import TrainingSettings
        from bioclip.training.recipes import load_recipe
        assert TrainingSettings.model_validate(load_recipe("short_cpu")).num_steps == 10
    """,
    "a metric of evaluation": """
        import numpy as np
        from bioclip.evaluation.benchmark import SpeciesClass
        from bioclip.evaluation.metrics import find_metric
        from bioclip.evaluation.tasks.zero_shot import predict
        classes = [SpeciesClass(("", "", "", "", "", "G", f"G {letter}"), "") for letter in "abcd"]
        images, labels = np.eye(4, dtype=np.float32), np.array([0, 1, 2, 3])
        captions = np.eye(4, dtype=np.float32) + np.float32(0.1) * np.arange(4, dtype=np.float32)[:, None]
        [answers] = predict(images, captions, 10.0, labels, classes, ["species"], "sci")
        measured = find_metric("top3")(answers)
        assert (measured.metric, measured.chance) == ("top3", 0.75)
        assert measured.statistic(np.ones((1, 4)), None)[0] == 1.0
    """,
    "a task of evaluation": """
        import numpy as np
        from bioclip.evaluation.tasks import find_task
        from bioclip.evaluation.tasks.task import TaskInput
        images = np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
        given = TaskInput(None, ("a", "b", "c", "d"), images, np.array([0, 0, 1, 0]), None, None)
        [measured] = find_task("nearest_image")(given).measurements
        assert measured.statistic(np.ones((1, 4)), None)[0] == 0.5
    """,
    "a zero-shot head": """
        import numpy as np
        from bioclip.evaluation.benchmark import SpeciesClass
        from bioclip.evaluation.heads import find_head
        from bioclip.evaluation.heads.class_names import NamedClasses
        from tests.evaluation.heads.letter_texts import LetterTexts
        species = (("Pica", "Pica pica"), ("Parus", "Parus ater"))
        classes = [SpeciesClass(("", "", "", "", "", *names), "") for names in species]
        head = find_head("genus_names")(NamedClasses(classes, [one.lineage[-1] for one in classes]), LetterTexts())
        pairs = [LetterTexts().encode_texts([f"a photo of {c.lineage[6]}.", f"a photo of the genus {c.lineage[5]}."]) for c in classes]
        means = np.stack([pair.mean(axis=0) / np.linalg.norm(pair.mean(axis=0)) for pair in pairs])
        assert np.allclose(head.similarities(means), means @ means.T, atol=1e-6)
    """,
    "a few-shot classifier": """
        import numpy as np
        from bioclip.evaluation.classifiers import Support, fit_classifier
        images = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
        scores = fit_classifier("ridge", Support(images, np.array([0, 0, 1, 2]), 3))(images)
        assert np.allclose(scores, [[2 / 3, 0, 0], [2 / 3, 0, 0], [0, 1 / 2, 0], [0, 0, 1 / 2]])
    """,
    "a benchmark of models": """
        from bioclip.evaluation.benchmarks import build_benchmark
        from bioclip.releases import open_release
        from bioclip.storage import Storage
        benchmark = build_benchmark("val_species", open_release(Storage(sys.argv[2]), sys.argv[3]))
        assert len(benchmark.labels) > 100
        assert len(benchmark.classes) == len(set(benchmark.labels.values()))
    """,
    "a published benchmark": """
        from bioclip.evaluation.benchmarks.references import BenchmarkRef
        (tmp / "labels.csv").write_text("photo,bird\\na.jpg,magpie\\nb.jpg,raven\\n")
        (tmp / "photos").mkdir()
        (tmp / "photos" / "a.jpg").write_bytes(b"a photo")
        [benchmark] = BenchmarkRef.parse(f"my_birds={tmp}").build()
        assert benchmark.texts == {"asis": ("magpie", "raven")}
        assert benchmark.images.read_image(0, 100) == b"a photo"
        assert benchmark.about["license"] == "CC-BY-4.0"
    """,
    "a report section": """
        from bioclip.report.data.workspace_report import gather_report
        from bioclip.report.pages.release import render_report, render_sections
        from tests.report.workspace import VERSION, Workspace, fill
        data = gather_report(fill(Workspace(tmp / "workspace"), {"fungi": 24}).write(), VERSION)
        page = render_report(data, render_sections(data)).decode()
        assert 'id="largest-source"' in page
        assert " samples.</p>" in page
    """,
    "a command": """
        import contextlib, io, json
        from flows.commands.cli import main
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert main(["release", "size", "--workspace", sys.argv[2], "--release", sys.argv[3], "--json"]) == 0
        assert json.loads(printed.getvalue())["num_bytes"] > 1000
    """,
    "a benchmark of speed": """
        from benchmarks.peers import Peers
        from benchmarks.registry import Context, load
        run, summary = load("sorting")
        [comparison] = run(Context(True, tmp, Peers(tmp))).comparisons
        assert comparison.ratio > 0
        assert "Peer: Python" in summary
    """,
}
"""By row: what a user does with the new thing. `tmp` is an empty folder, sys.argv[2:] a curated workspace and its release."""


@pytest.mark.parametrize("row", sorted(CHECKS))
def test_the_example_of_a_row_works(row: str, changed: Path, curated: Curated, tmp_path: Path) -> None:
    body = "\n".join(line.removeprefix(" " * 8) for line in CHECKS[row].splitlines())
    code = f"import sys\nfrom pathlib import Path\nsys.path.insert(0, {str(changed)!r})\ntmp = Path(sys.argv[1])\n{body}"
    command = [sys.executable, "-c", code, str(tmp_path), curated.storage.root, curated.release.version]
    done = subprocess.run(command, cwd=changed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_row_has_an_example_and_every_example_is_used() -> None:
    assert set(CHECKS) == set(sections()) <= set(table_rows())
    assert all(blocks for blocks in sections().values())


def test_every_file_that_the_readme_and_contributing_name_is_there() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text()
        for target in {part.split(")")[0] for part in text.split("](")[1:]}:
            assert target.startswith("http") or (ROOT / target).exists(), f"{name} names {target}"
