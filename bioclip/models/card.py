"""The card of a trained model: what it was trained on, how, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bioclip.models.trained import ModelInfo


def describe_hardware(environment: Mapping[str, Any]) -> str:
    """One line on the device of a training, from `ModelInfo.environment`."""
    num_processes, device = environment.get("num_processes", 1), environment.get("device", "unknown")
    if device == "cpu":
        return f"CPU, processes: {num_processes}, threads of each: {environment.get('num_threads', 'unknown')}"
    return f"{num_processes} x {device}"


def write_card(info: ModelInfo, uri: str, hours: float | None) -> str:
    """Markdown; `uri` is the model's folder, `hours` the duration of training where it is known."""
    settings, environment = info.settings, info.environment
    time = f"{hours:.2f} hours" if hours is not None else "unknown duration"
    return f"""# Model {info.model_id}

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

## Use

```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")
```

## Limits

Licences and attribution of the training images are in the release. The scores are in the evaluations of this model, each with its number
of images, its interval and its chance level; the model has not been tested on other data.
"""
