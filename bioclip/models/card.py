"""The card of a trained model in the form of the Hugging Face hub: what it was trained on, how, its scores, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from bioclip.models.trained import ModelInfo

_TAGS = ("biology", "biodiversity", "clip", "taxonomy", "bioclip-pipeline")


@dataclass(frozen=True)
class CardScore:
    """A score of an evaluation: shares from 0 to 1 with the 95 % interval over `units` (as `8 species`), chance and the number of images.

    `dataset` names the benchmark, `split` its images and `revision` their release or content; `is_few_shot` is False for zero-shot.
    """

    dataset: str
    split: str
    revision: str
    measure: str
    is_few_shot: bool
    value: float
    ci_low: float
    ci_high: float
    chance: float | None
    num_images: int
    num_classes: int
    units: str
    evaluation_id: str

    @property
    def interval(self) -> str:
        """The interval in percent with its units."""
        return f"{100 * self.ci_low:.1f} to {100 * self.ci_high:.1f} over {self.units}"

    @property
    def chance_level(self) -> str:
        """Chance in percent; a dash where it is not known."""
        return "-" if self.chance is None else f"{100 * self.chance:.1f}"


def describe_hardware(environment: Mapping[str, Any]) -> str:
    """One line on the device of a training, from `ModelInfo.environment`."""
    num_processes, device = environment.get("num_processes", 1), environment.get("device", "unknown")
    if device == "cpu":
        return f"CPU, processes: {num_processes}, threads of each: {environment.get('num_threads', 'unknown')}"
    return f"{num_processes} x {device}"


def write_card(info: ModelInfo, uri: str, hours: float | None, scores: Sequence[CardScore] = ()) -> str:
    """Markdown with a YAML head; `uri` is the model's folder, `hours` the duration of training where it is known.

    The head has a `model-index` with one result per benchmark and kind of task, as the hub and `huggingface_hub.ModelCardData` read it.
    """
    settings, environment = info.settings, info.environment
    time = f"{hours:.2f} hours" if hours is not None else "unknown duration"
    head = yaml.safe_dump(_head(info, scores), sort_keys=False, allow_unicode=True, width=10_000)
    return f"""---
{head}---

# Model {info.model_id}

A CLIP model that `treeoflife train` trained on photographs of organisms and their scientific and common names.

| | |
|-|-|
| data | release {info.release_version} (digest {info.release_digest[:12]}), split {info.split}, {info.num_training_samples:,} images |
| architecture | {settings["model"]["name"]}, {info.num_parameters:,} parameters |
| training | {info.num_steps:,} steps of {settings["batch_size"]:,} images; loss {info.loss_first:.3f} first, {info.loss_last:.3f} last |
| duration | {time} on {describe_hardware(environment)} |
| versions | torch {environment.get("torch", "unknown")}, open_clip {environment.get("open_clip", "unknown")} |
| weights | SHA-256 {info.weights_sha256} |
| folder | {uri} |

## Scores

{_score_table(scores)}

## Use

```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")
```

## Limits

Licences and attribution of the training images are in the release. Scores hold for the images and classes of their benchmark; the interval
states for which further units of their kind. The model has not been tested on other data.
"""


def _head(info: ModelInfo, scores: Sequence[CardScore]) -> dict[str, Any]:
    head: dict[str, Any] = {
        "library_name": "open_clip",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": list(_TAGS),
    }
    if scores:
        head |= {"metrics": ["accuracy"], "model-index": [{"name": info.model_id, "results": _results(scores)}]}
    return head


def _results(scores: Sequence[CardScore]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str, str, bool, str], list[CardScore]] = {}
    for one in scores:
        groups.setdefault((one.dataset, one.split, one.revision, one.is_few_shot, one.evaluation_id), []).append(one)
    return [
        {
            "task": {
                "type": "image-classification" if is_few_shot else "zero-shot-image-classification",
                "name": "few-shot classification" if is_few_shot else "zero-shot classification",
            },
            "dataset": {
                "type": dataset,
                "name": dataset.replace("_", " "),
                "split": split,
                "revision": revision,
                "args": {"evaluation": evaluation_id},
            },
            "metrics": [_metric(one) for one in members],
        }
        for (dataset, split, revision, is_few_shot, evaluation_id), members in groups.items()
    ]


def _metric(score: CardScore) -> dict[str, Any]:
    chance = "" if score.chance is None else f"; chance {score.chance_level} %"
    return {
        "type": "accuracy",
        "value": round(score.value, 6),
        "name": f"{score.measure} (95 % interval {score.interval}{chance}; {score.num_images} images, {score.num_classes} classes)",
    }


def _score_table(scores: Sequence[CardScore]) -> str:
    if not scores:
        return "None: the model has not been evaluated in this workspace."
    lines = ["| benchmark | measure | score, % | 95 % interval | chance, % | images | classes |", "|-|-|-|-|-|-|-|"]
    lines += [
        f"| {one.dataset} | {one.measure} | {100 * one.value:.1f} | {one.interval} | {one.chance_level} | {one.num_images:,} "
        f"| {one.num_classes:,} |"
        for one in scores
    ]
    return "\n".join(lines)
