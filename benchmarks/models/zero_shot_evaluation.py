"""Zero-shot evaluation of one network on one folder of photographs: answers of each image, and CPU seconds of the whole process.

Peer: CLIP_benchmark 1.6.2, its command `clip_benchmark eval` in an environment of its own. Both read the bundled photographs in
CLIP_benchmark's WebDataset layout, with the template `a photo of {c}.`, in float32, with one thread and batches of 64. The
network is ViT-B-32 or ViT-S-32 with random weights, enlarged so that its answers differ from image to image; its scores are meaningless.
Times are CPU seconds of the process, imports and loading included. Ours also computes intervals, and writes scores and answers.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.measuring import Comparison, FactTable, Report, alternate
from benchmarks.registry import Context
from bioclip import layout
from bioclip.models.reference import ModelRef
from bioclip.sample import sample_path
from bioclip.settings import EvaluationSetSettings, EvaluationSettings, ModelSettings
from bioclip.storage import Storage

ARCHITECTURES = ("ViT-S-32", "ViT-B-32")
TEMPLATE = "a photo of {c}."
PEER = "clip_benchmark"
_PEER_SCRIPT = Path(__file__).parent / "clip_benchmark_peer.py"
_GAIN = 3.0


def run(context: Context) -> Report:
    """Both sides for each architecture, and the agreement of their answers."""
    dataset = context.scratch / "photographs"
    names = write_dataset(dataset, 40 if context.quick else 1_000_000)
    python = context.peers.python(PEER)
    comparisons, facts = [], []
    for architecture in ARCHITECTURES[:1] if context.quick else ARCHITECTURES:
        model = context.scratch / architecture
        write_model(architecture, model)
        ours, theirs = _Side([sys.executable, "-m", __name__, str(model), str(dataset)]), None
        if python is not None:
            theirs = _Side([str(python), str(_PEER_SCRIPT), str(model), str(dataset)])
        sides = alternate(ours.cpu_seconds, theirs.cpu_seconds if theirs else None, 1 if context.quick else 2, budget_s=0)
        case = f"{architecture}, {len(ours.found['truth'])} photographs, {len(names)} classes"
        peer = context.peers.version(PEER, "clip-benchmark") if theirs else f"{PEER}: missing"
        comparisons.append(Comparison(case, peer, *sides, amount=len(ours.found["truth"]), unit="images/CPU-s"))
        facts += _agreement(architecture, ours.found, theirs.found) if theirs else []
    header = ("figure", "ours", "CLIP_benchmark")
    return Report(tuple(comparisons), (FactTable("Answers", header, tuple(facts)),))


class _Side:
    """One tool's command; `found` is what its last run wrote."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.found: dict[str, Any] = {}

    def cpu_seconds(self) -> float:
        """Run it once."""
        output = Path(self.command[-1]).parent / "found.json"
        finished = subprocess.run([*self.command, str(output)], capture_output=True, text=True, check=False)
        if finished.returncode:
            raise RuntimeError(f"{self.command[:3]} failed: {finished.stderr[-1500:]}")
        self.found = json.loads(output.read_text())
        return float(self.found["cpu_s"])


def _agreement(architecture: str, ours: dict[str, Any], theirs: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    pairs = list(zip(ours["best"], theirs["best"], strict=True))
    first, five = (sum(one[:kept] == other[:kept] for one, other in pairs) for kept in (1, 5))
    assert ours["truth"] == theirs["truth"]
    return [
        (f"{architecture}: top-1", ours["acc1"], theirs["acc1"]),
        (f"{architecture}: top-5", ours["acc5"], theirs["acc5"]),
        (f"{architecture}: images with the same first class", f"{first} of {len(pairs)}", ""),
        (f"{architecture}: images with the same first five classes in order", f"{five} of {len(pairs)}", ""),
        (f"{architecture}: images whose truth is first, by both or by neither", _same_hits(ours, theirs, 1), ""),
        (f"{architecture}: images whose truth is among five, by both or by neither", _same_hits(ours, theirs, 5), ""),
        (f"{architecture}: different first classes", len({one[0] for one, _ in pairs}), len({other[0] for _, other in pairs})),
    ]


def _same_hits(ours: dict[str, Any], theirs: dict[str, Any], kept: int) -> str:
    hits = [[truth in best[:kept] for truth, best in zip(side["truth"], side["best"], strict=True)] for side in (ours, theirs)]
    return f"{sum(one == other for one, other in zip(*hits, strict=True))} of {len(ours['truth'])}"


def write_dataset(folder: Path, count: int) -> list[str]:
    """The first `count` bundled photographs with a scientific name in CLIP_benchmark's layout; returns the names of the classes."""
    with zipfile.ZipFile(sample_path("field-observations")) as archive:
        tables = [archive.read(f"{name}.txt").decode() for name in ("multimedia", "occurrence")]
    media, occurrences = (list(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)) for text in tables)
    name_of = {row["gbifID"]: row["scientificName"] for row in occurrences}
    with zipfile.ZipFile(sample_path("media")) as images:
        member = {row["identifier"].removeprefix("http://media.treeoflife.example/"): name_of[row["coreid"]] for row in media}
        known = set(images.namelist())
        chosen = sorted((path, name) for path, name in member.items() if path in known and name and not path.startswith("faults/"))
        chosen = chosen[:: max(1, len(chosen) // count)][:count]
        names = sorted({name for _, name in chosen})
        (folder / "test").mkdir(parents=True)
        with tarfile.open(folder / "test" / "0.tar", "w") as tar:
            for number, (path, name) in enumerate(chosen):
                _add(tar, f"{number:06d}.jpg", images.read(path))
                _add(tar, f"{number:06d}.cls", str(names.index(name)).encode())
    (folder / "test" / "nshards.txt").write_text("1")
    (folder / "classnames.txt").write_text("\n".join(names))
    (folder / "zeroshot_classification_templates.txt").write_text(TEMPLATE)
    return names


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def write_model(architecture: str, folder: Path) -> None:
    """An open_clip folder with random weights, the matrices of its blocks `_GAIN` times as large as at the start of a training."""
    import torch

    from bioclip.models.clip import open_model, save_model

    model = open_model(ModelRef.from_settings(ModelSettings(name=architecture), seed=0))
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if parameter.ndim == 2 and "resblocks" in name:
                parameter.mul_(_GAIN)
    save_model(Storage(str(folder.parent)), folder.name, model)


def evaluate_folder(model: str, dataset: str, output: str) -> None:
    """Our side: evaluation settings, the set, its benchmark, and the evaluation in a workspace beside the model."""
    import torch

    from bioclip.evaluation.benchmarks.labelled_sets import LabelRules, build_labelled
    from bioclip.evaluation.scoring import evaluate_on
    from bioclip.evaluation_sets.reading import read_evaluation_set

    torch.set_num_threads(1)
    images = read_evaluation_set(EvaluationSetSettings(name="photographs", path=dataset, split="test"))
    benchmark = build_labelled("photographs", images, LabelRules("labels", ("zero_shot",)))
    settings = EvaluationSettings(num_loader_workers=0, device="cpu", ranks=("species",), caption_types=("sci",))
    workspace = Storage(f"{output}-{time.time_ns()}")
    result = evaluate_on(settings, ModelRef.parse(model), lambda: [benchmark], workspace)
    with workspace.reader(f"{result.info.folder}/{layout.SCORES_OUTCOMES}") as stream:
        rows = pq.read_table(stream).sort_by("item_id").to_pylist()
    number = {one.lineage[-1]: position for position, one in enumerate(benchmark.classes)}
    credit = Counter({kept: sum(min(max((kept - r["truth_position"]) / r["num_tied"], 0), 1) for r in rows) for kept in (1, 5)})
    found = {
        "acc1": credit[1] / len(rows),
        "acc5": credit[5] / len(rows),
        "best": [[number[name] for name in row["top"]] for row in rows],
        "truth": [number[row["truth"]] for row in rows],
        "cpu_s": time.process_time(),
    }
    Path(output).write_text(json.dumps(found))


if __name__ == "__main__":
    evaluate_folder(*sys.argv[1:])
