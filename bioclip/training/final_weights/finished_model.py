"""The files of a finished model, written once its last step is done."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from safetensors.torch import save

from bioclip import layout
from bioclip.digests import canonical_json
from bioclip.errors import TrainingError
from bioclip.models.adaptation import merge_adaptation
from bioclip.models.clip import save_model
from bioclip.models.trained import ModelInfo
from bioclip.settings import meaningful
from bioclip.training.final_weights.mixing import mix_with_start
from bioclip.training.probes import best_probe
from bioclip.training.run_log import metrics_of

if TYPE_CHECKING:
    from bioclip.releases import Release
    from bioclip.training.running import Run

_ENDS_SHARE = 0.05


def write_model(run: Run, key: str, release: Release) -> None:
    """Write the model's folder in the first process, `model.json` last, and remove its checkpoints; called by all processes."""
    step, trainer = _take_final_weights(run), run.trainer
    trainer.gather_result()
    if run.processes.is_first:
        storage, folder, model = run.checkpoints.storage, layout.model_dir(key[:12]), trainer.result
        merge_adaptation(model.network)
        mixture = mix_with_start(run.settings, release, model) if run.settings.mix_with_start else None
        info = _describe(run, key, release, save_model(storage, folder, model), step)
        info = replace(info, mixture=mixture.to_dict() if mixture else {}, no_texts=model.no_texts)
        probed = {probe["step"]: dict(probe) for probe in run.state.probes}
        rows = [metrics_of(number, run.state, run.settings, run.data) | probed.get(number, {}) for number in range(1, run.num_done + 1)]
        storage.write_bytes(f"{folder}/{layout.TRAINING_METRICS}", b"".join(canonical_json(row) + b"\n" for row in rows))
        if state := trainer.objectives.state_dict():
            tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
            storage.write_bytes(f"{folder}/{layout.OBJECTIVE_WEIGHTS}", save(tensors))
        run.log.write_unreadable(run.data.unreadable.take_new())
        storage.write_bytes(f"{folder}/{layout.MODEL_INFO}", info.to_bytes())
        run.checkpoints.clear()
        run.data.unreadable.clear()
    run.processes.wait()


def _take_final_weights(run: Run) -> int:
    """Load the weights that the settings choose, if they are not those of the last step; returns their step."""
    probes = run.settings.probes
    best = best_probe(run.state.probes, probes) if probes.decides_weights else None
    if best is None or best == run.num_done:
        return run.num_done
    choice = run.processes.agree(lambda: run.checkpoints.choose(best))
    if choice.num_steps != best:
        raise TrainingError(
            f"the best weights are those of step {best}, whose checkpoint is missing or damaged; remove "
            f"{layout.checkpoints_dir(run.checkpoints.folder)} to train from step 0, or set training.probes.final_weights to 'last'."
        )
    run.checkpoints.read(choice, run.parts)
    return best


def _describe(run: Run, key: str, release: Release, weights_sha256: str, weights_step: int) -> ModelInfo:
    num_ends = max(1, math.ceil(run.settings.num_steps * _ENDS_SHARE))
    return ModelInfo(
        model_id=key[:12],
        key=key,
        release_version=release.version,
        release_digest=release.digest,
        settings=meaningful(run.settings),
        weights_sha256=weights_sha256,
        num_parameters=run.trainer.model.num_parameters,
        num_steps=run.settings.num_steps,
        num_samples_seen=run.settings.num_steps * run.settings.batch_size,
        num_training_samples=run.data.num_samples,
        loss_first=run.state.history[:num_ends, 0].mean().item(),
        loss_last=run.state.history[-num_ends:, 0].mean().item(),
        split=run.settings.split,
        samples_without=dict(run.samples_without),
        cut_captions={name: one.to_dict() for name, one in run.cut_captions.items()},
        unreadable_samples=run.data.unreadable.of_all_processes(),
        environment=run.processes.environment(),
        weights_step=weights_step,
        skipped_batches=[list(window) for window in run.state.skipped],
        rollbacks=list(run.state.rollbacks),
    )
