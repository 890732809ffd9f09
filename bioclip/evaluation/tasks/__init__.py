"""Tasks by name. To add one: a file of this folder with a `run` function, and a line in TASKS.

An external one is named `module:function` and is not registered.
"""

from __future__ import annotations

from bioclip.evaluation.registered import find_function
from bioclip.evaluation.tasks import (
    attribute_binding,
    composed_retrieval,
    confidence,
    counter_backgrounds,
    embedding_map,
    embedding_structure,
    few_shot,
    hierarchy,
    life_stages,
    non_organisms,
    open_set,
    rank_prompts,
    retrieval,
    robustness,
    zero_shot,
    zero_shot_heads,
)
from bioclip.evaluation.tasks.task import Task

TASKS: dict[str, Task] = {
    "zero_shot": zero_shot.run,
    "zero_shot_heads": zero_shot_heads.run,
    "few_shot": few_shot.run,
    "rank_prompts": rank_prompts.run,
    "hierarchy": hierarchy.run,
    "confidence": confidence.run,
    "open_set": open_set.run,
    "non_organisms": non_organisms.run,
    "retrieval": retrieval.run,
    "composed_retrieval": composed_retrieval.run,
    "life_stages": life_stages.run,
    "embedding_structure": embedding_structure.run,
    "embedding_map": embedding_map.run,
    "robustness": robustness.run,
    "counter_backgrounds": counter_backgrounds.run,
    "attribute_binding": attribute_binding.run,
}


def find_task(name: str) -> Task:
    """The task registered as `name`, or that of `module:function`; raises UnknownNameError and EvaluationError."""
    return find_function("task", name, TASKS)
