"""`treeoflife train --dry-run`: what a training run will need, without starting it."""

from __future__ import annotations

import logging
from dataclasses import asdict

import torch

from bioclip.releases import open_release, resolve_release
from bioclip.settings import PipelineSettings
from bioclip.storage import open_workspace
from bioclip.training.data.streams import stream_settings
from bioclip.training.forecast import Device, Forecast, check_fits, describe_device, forecast_run
from bioclip.training.recipes import list_recipes, read_recipe
from flows.commands.answers import Answer


def forecast_training(settings: PipelineSettings, release: str) -> Answer:
    """The forecast of a run, with an error where it does not fit the device's memory.

    Where the settings ask for a GPU and this machine has none, the memory is that of the recipe's hardware.
    """
    logging.basicConfig(level=logging.ERROR)  # open_clip warns that the network has no weights
    training = settings.training
    device = _device(settings)
    forecast = forecast_run(training, _num_samples(settings, release), device, training.num_processes)
    check_fits(forecast, training, training.num_processes)
    return Answer({"forecast": asdict(forecast) | {"device": device.name}}, ["", *_lines(forecast, device, training.recipe)])


def _device(settings: PipelineSettings) -> Device:
    training = settings.training
    if training.device != "cuda" or torch.cuda.is_available():
        return describe_device(training.device, training.precision, training.peak_tflops)
    memory = read_recipe(training.recipe).about.hardware.gpu_memory_gb if training.recipe in list_recipes() else 0.0
    return Device("GPU of the recipe (none here)", memory or None, training.peak_tflops * 1e12 or None)


def _num_samples(settings: PipelineSettings, release: str) -> float:
    """Images of the run's own release by its share of a batch, so that pairs divided by them are its epochs."""
    storage, streams = open_workspace(settings.workspace), stream_settings(settings.training)
    found = open_release(storage, resolve_release(storage, release))
    own = [stream for stream in streams if not stream.shards and not stream.release]
    share = sum(stream.ratio for stream in own) / sum(stream.ratio for stream in streams)
    return sum(found.num_samples(stream.split) for stream in own) / share if own else 0


def _lines(forecast: Forecast, device: Device, recipe: str) -> list[str]:
    memory = f"{forecast.memory_gb:.1f} GB on each device: {forecast.state_gb:.1f} weights, gradients and optimizer, "
    memory += f"{forecast.activations_gb:.1f} activations, {forecast.logits_gb:.1f} features and logits"
    available = "" if forecast.available_gb is None else f"; {forecast.available_gb:.0f} GB available"
    speed = "unknown" if forecast.pairs_per_second is None else f"{forecast.pairs_per_second:,.0f} pairs/s"
    hours = "unknown" if forecast.hours is None else f"{forecast.hours:,.2f}" if forecast.hours < 10 else f"{forecast.hours:,.0f}"
    published = read_recipe(recipe).about.hours if recipe in list_recipes() else None
    lines = [
        f"device      {device.name}",
        f"parameters  {forecast.num_parameters:,}, of which {forecast.num_trained:,} are trained",
        f"steps       {forecast.num_steps:,}: {forecast.num_pairs:,} pairs, {forecast.epochs:,.1f} epochs",
        f"memory      {memory}{available}",
        f"work        {forecast.gflops_per_pair:,.1f} GFLOP a pair with texts of full length",
        f"speed       {speed} ({forecast.basis})",
        f"hours       {hours}",
    ]
    if published and published.value is not None:
        lines.append(f"recipe      {published.value:g} h, {published.basis}" + (f" ({published.note})" if published.note else ""))
    return lines
