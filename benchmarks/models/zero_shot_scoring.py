"""Images per second of the zero-shot filter: from stored JPEGs to the probability of one set of prompts against another.

Peer: open_clip as its own README uses it, `preprocess` and `encode_image`, image by image, and in batches of the same size as ours. All
sides have the same network, ViT-B-32 with random weights from one seed (time does not depend on the weights;
the scores are meaningless), the same prompts, the same JPEGs in memory and the same threads. Loading the network is not timed.
The greatest difference between the scores of both sides is stated too: both see the same pixels.
"""

from __future__ import annotations

import importlib.metadata
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measuring import Comparison, FactTable, Report, alternate, num_cores, seconds_of
from benchmarks.photographs import large_photographs
from benchmarks.registry import Context
from bioclip.models.clip import import_open_clip
from bioclip.scorers.zero_shot import ZeroShotOptions, ZeroShotScorer
from bioclip.settings import ModelSettings

POSITIVE = ("a photo of an animal", "a photo of a plant", "a photo of a mushroom")
NEGATIVE = ("a photo of an empty scene",)
BATCH_SIZE = 64
_ARCHITECTURE = "ViT-B-32"
Scores = list[float]


def run(context: Context) -> Report:
    """Rates against both loops, and the greatest difference of the scores."""
    import torch

    torch.set_num_threads(num_cores())
    images = list(large_photographs(8 if context.quick else 48, scale=0.5))
    scorer = make_scorer(BATCH_SIZE)
    network = scorer.encoder.model.network
    peer = f"open_clip {importlib.metadata.version('open-clip-torch')}"
    comparisons, facts = [], []
    ours = score_images(scorer, images)
    for case, size in (("image by image", 1), (f"batches of {BATCH_SIZE}", BATCH_SIZE)):
        theirs = open_clip_loop(network, images, size)
        apart = np.abs(np.array(ours) - np.array(theirs()))  # before timing: the first call of either side is slow
        sides = alternate(_timed(lambda: score_images(scorer, images)), _timed(theirs), 1 if context.quick else 3, budget_s=40)
        comparisons.append(Comparison(f"{len(images)} JPEGs of 512 px", f"{peer}, {case}", *sides, amount=len(images), unit="images/s"))
        facts.append((f"{peer}, {case}", float(apart.mean()), float(apart.max()), float(np.std(ours))))
    header = ("beside", "mean difference", "greatest", "spread of the scores (standard deviation)")
    return Report(tuple(comparisons), (FactTable("Scores", header, tuple(facts)),))


def make_scorer(batch_size: int) -> ZeroShotScorer:
    """The product's scorer with an untrained network, and a scale at which its scores vary."""
    options = ZeroShotOptions(model=ModelSettings(name=_ARCHITECTURE), positive=POSITIVE, negative=NEGATIVE)
    return ZeroShotScorer(options, batch_size)


def score_images(scorer: ZeroShotScorer, images: Sequence[bytes]) -> Scores:
    """Our side."""
    return [score for _, score in scorer.score([(str(number), data) for number, data in enumerate(images)])]


def open_clip_loop(network: Any, images: Sequence[bytes], batch_size: int) -> Callable[[], Scores]:
    """open_clip's example: preprocess, encode, softmax over the two classes."""
    import torch

    open_clip = import_open_clip()
    preprocess = open_clip.image_transform(**_preprocessing(open_clip.get_model_preprocess_cfg(network)), is_train=False)
    tokenizer = open_clip.get_tokenizer(_ARCHITECTURE)

    def loop() -> Scores:
        scores: Scores = []
        with torch.no_grad():
            classes = torch.stack([network.encode_text(tokenizer(list(p)), normalize=True).mean(0) for p in (POSITIVE, NEGATIVE)])
            classes /= classes.norm(dim=-1, keepdim=True)
            for first in range(0, len(images), batch_size):
                batch = [preprocess(Image.open(io.BytesIO(data))) for data in images[first : first + batch_size]]
                features = network.encode_image(torch.stack(batch), normalize=True)
                scores += (100.0 * features @ classes.T).softmax(dim=-1)[:, 0].tolist()
        return scores

    return loop


def _preprocessing(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Converts setting names of one open_clip function to another's."""
    return {"image_size": configuration["size"], **{name: configuration[name] for name in ("mean", "std", "interpolation", "resize_mode")}}


def _timed(work: Callable[[], Any]) -> Callable[[], float]:
    return lambda: seconds_of(work)
