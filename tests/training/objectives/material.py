"""A small CLIP, twelve pairs with everything that occurs in a batch, and the gradients of any objective on them.

Among the pairs: repeated captions, one caption of two taxa, a taxon with one image and one with four, a genus without a species, a
lineage without a name at one rank, and pairs of a foreign stream, which have no taxon.

The last letters of a tensor's name are its shape:
B  pairs    U  distinct captions    E  added texts    D  width of the embeddings
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bioclip import layout
from bioclip.encoding.embedding_table import embedding_table_bytes
from bioclip.models.clip import ClipModel, create_model
from bioclip.settings import ModelSettings, ObjectiveSettings, TrainingSettings
from bioclip.training.data.batch import Batch
from bioclip.training.data.caption_types import caption_id
from bioclip.training.data.lineage_matrix import LineageMatrix
from bioclip.training.objectives import options_class
from bioclip.training.objectives.contract import Objective, ObjectiveContext, Outputs, at_least_float32
from bioclip.training.objectives.weighted import WeightedObjectives, build_objectives
from bioclip.training.processes import Processes, join_processes

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUM_PAIRS, WIDTH, STEP = 12, 8, 3
NUM_CROPS, FEATURE_WIDTH = 3, 6
ALONE = Processes(0, 1, torch.device("cpu"))
SETTINGS = TrainingSettings(
    model=ModelSettings(
        name="smallest",
        architecture={
            "embed_dim": WIDTH,
            "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8},
            "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        },
    ),
    num_steps=10,
    num_crops=NUM_CROPS,
    batch_size=NUM_PAIRS,
)
_LINEAGES = (
    "Animalia Chordata Aves Passeriformes Corvidae Pica Pica_pica",
    "Animalia Chordata Aves Passeriformes Corvidae Corvus Corvus_corax",
    "Animalia Chordata Aves Passeriformes Corvidae Corvus ",
    "Animalia Chordata  Squamata Lacertidae Lacerta Lacerta_agilis",
    "Plantae Tracheophyta Magnoliopsida Fagales Fagaceae Quercus Quercus_robur",
)
_NAMES = tuple(sorted(tuple(name.replace("_", " ") for name in line.split(" ")) for line in _LINEAGES))
_PREFIXES = [sorted({names[: rank + 1] for names in _NAMES}) for rank in range(7)]
LINEAGES = LineageMatrix(
    names_TR=_NAMES,
    node_TR=np.array(
        [[_PREFIXES[rank].index(names[: rank + 1]) if names[rank] else -1 for rank in range(7)] for names in _NAMES], dtype=np.int32
    ),
)
_OAK, _PICA, _RAVEN, _GENUS, _LIZARD = (
    next(row for row, names in enumerate(LINEAGES.names_TR) if name in names)
    for name in ("Quercus robur", "Pica pica", "Corvus corax", "Corvus", "Lacerta agilis")
)
_GENUS = next(row for row, names in enumerate(LINEAGES.names_TR) if names[5] == "Corvus" and not names[6])
PAIRS: tuple[tuple[int, int, str], ...] = (
    (_OAK, 0, "a photo of Quercus robur."),
    (_OAK, 0, "a photo of Quercus robur."),
    (-1, 1, "two cats on a sofa"),
    (_OAK, 0, "a photo of pedunculate oak."),
    (_PICA, 0, "a photo of a crow."),
    (_RAVEN, 0, "a photo of a crow."),
    (_GENUS, 0, "a photo of Corvus."),
    (_RAVEN, 0, "a photo of Corvus corax."),
    (-1, 1, "a red bus"),
    (_LIZARD, 0, "a photo of Lacerta agilis."),
    (_OAK, 0, "a photo of oak wood."),
    (-1, 1, "a red bus"),
)
"""Taxon, stream and caption of each pair."""


def make_batch(rows: slice = slice(0, NUM_PAIRS), pairs: tuple[tuple[int, int, str], ...] = PAIRS, step: int = STEP) -> Batch:
    """Rows of the batch; the tokens are those of `make_model`'s tokenizer, so `gradients` fills them in."""
    images = torch.randint(0, 256, (len(pairs), 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(11))
    chosen, captions = pairs[rows], tuple(caption for _, _, caption in pairs[rows])
    distinct = list(dict.fromkeys(captions))
    return Batch(
        step=step,
        images_BCHW=images[rows],
        tokens_UL=torch.zeros(len(distinct), 24, dtype=torch.int64),
        text_of_B=torch.tensor([distinct.index(caption) for caption in captions]),
        caption_id_B=torch.tensor([caption_id(caption) for caption in captions]),
        caption_type_B=torch.tensor([-1 if stream else 0 for _, stream, _ in chosen]),
        taxon_B=torch.tensor([taxon for taxon, _, _ in chosen]),
        stream_B=torch.tensor([stream for _, stream, _ in chosen]),
        epoch_B=torch.tensor([number % 3 for number in range(len(pairs))])[rows],
        keys=tuple(f"key-{number}" for number in range(len(pairs)))[rows],
        captions=captions,
    )


def make_context(processes: Processes = ALONE, settings: TrainingSettings = SETTINGS) -> ObjectiveContext:
    """A context with a new model, in evaluation order of nothing but its seed."""
    model = create_model(settings.model, seed=5)
    return ObjectiveContext(model, LINEAGES, processes, settings)


def build(name: str, context: ObjectiveContext, **options: Any) -> WeightedObjectives:
    """The weighted sum of this objective alone."""
    return build_objectives([ObjectiveSettings(name=name, options=options)], context)


def outputs_of(context: ObjectiveContext, batch: Batch, added: list[str], precision: torch.dtype | None = None) -> Outputs:
    """The network's output for a batch and added texts, as a step gives it."""
    model, network = context.model, context.model.network
    images = model.normalise(batch.images_BCHW).to(next(network.parameters()).dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        answer = network(images, model.tokenizer([*batch.captions, *added]))
    images_BD, texts_XD, scale = (at_least_float32(value) for value in answer[:3])
    num_pairs = len(batch.keys)
    bias = answer[3] if len(answer) > 3 else None
    return Outputs(images_BD, texts_XD[:num_pairs], scale, bias, texts_XD[num_pairs:])


def gradients(
    name: str,
    options: Mapping[str, Any],
    processes: Processes = ALONE,
    rows: slice = slice(0, NUM_PAIRS),
    precision: torch.dtype = torch.float64,
    pairs: tuple[tuple[int, int, str], ...] = PAIRS,
) -> dict[str, torch.Tensor]:
    """The loss of some rows and its gradients, averaged over the processes, by the name of the parameter."""
    context = make_context(processes)
    objectives = build(name, context, **options)
    move_weights(context.model.network, objectives)
    if precision == torch.float64:
        context.model.network.double()
        objectives.double()
        for part in objectives.objectives:
            double_frozen_modules(part)
    batch = make_batch(rows, pairs)
    added = objectives.added_texts(batch)
    outputs = outputs_of(context, batch, [text for part in added for text in part], precision)
    loss = objectives.total(outputs, [len(part) for part in added], batch)
    loss.backward()
    parameters = {f"network/{key}": value for key, value in context.model.network.named_parameters()}
    parameters |= {f"objectives/{key}": value for key, value in objectives.named_parameters()}
    processes.average_gradients(parameters.values())
    found = {key: value.grad for key, value in parameters.items() if value.grad is not None}
    return {"loss": processes.mean(loss.detach().clone()), **found}


def move_weights(*modules: torch.nn.Module) -> None:
    """Change all weights a little, so that a frozen copy of the initial model differs."""
    generator = torch.Generator().manual_seed(23)
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


def double_frozen_modules(objective: Objective) -> None:
    """Put modules that an objective keeps out of training, in a tuple, to float64."""
    for value in vars(objective).values():
        for module in value if isinstance(value, tuple) else ():
            if isinstance(module, torch.nn.Module):
                module.double()


def rows_of(processes: Processes) -> slice:
    """This process's rows."""
    size = NUM_PAIRS // processes.world_size
    return slice(processes.rank * size, (processes.rank + 1) * size)


def plain(model: ClipModel) -> ClipModel:
    """The model in float64."""
    return replace(model, network=model.network.double())


def write_required(name: str, folder: Path) -> dict[str, Any]:
    """Options of a registered objective that have no default: a table of features for `..._path`, a teacher's folder for `..._dir`.

    The tables have features of all captions, and of all samples but one.
    """
    captions = sorted({caption for _, _, caption in PAIRS} | {f"text {number}" for number in range(NUM_PAIRS)})
    keys = [f"key-{number}" for number in range(NUM_PAIRS) if number != 4]
    options: dict[str, Any] = {}
    for key in (key for key, field in options_class(name).model_fields.items() if field.is_required()):
        place = folder / f"{name}-{key}"
        if key.endswith("_path"):
            place.write_bytes(embedding_table_bytes([*captions, *keys], random_features(len(captions) + len(keys), seed=1)))
        else:
            assert key.endswith("_dir"), f"objective {name!r} requires {key}; tests can give a table of features alone"
            write_teacher(place, keys, captions)
        options[key] = str(place)
    return options | ({"skip_missing": True} if "skip_missing" in options_class(name).model_fields else {})


def write_teacher(folder: Path, keys: list[str], captions: list[str]) -> None:
    """Features to distill, of three crops of each image."""
    folder.mkdir()
    for crop in range(NUM_CROPS):
        data = embedding_table_bytes(keys, random_features(len(keys), seed=10 + crop))
        (folder / layout.teacher_crop(f"{crop:02d}")).write_bytes(data)
    data = embedding_table_bytes(captions, random_features(len(captions), seed=20), {"logit_scale": "20"})
    (folder / layout.TEACHER_CAPTIONS).write_bytes(data)


def random_features(num_rows: int, seed: int) -> NDArray[np.float32]:
    """float32 [num_rows, FEATURE_WIDTH]."""
    return np.random.default_rng(seed).normal(size=(num_rows, FEATURE_WIDTH)).astype(np.float32)


def write_gradients(options: dict[str, dict[str, Any]], folder: str) -> None:
    """Write the gradients of each objective, with this process's half of the batch; for a ProcessPair."""
    with join_processes("cpu") as processes:
        for name in options:
            found = gradients(name, options[name], processes, rows_of(processes))
            if processes.is_first:
                torch.save(found, Path(folder, f"{name}.pt"))
