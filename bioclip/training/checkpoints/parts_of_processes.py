"""Tensors of a sharded run in a folder: each process writes and reads its own parts, planned by torch's distributed checkpoint (DCP).

The parts of a process are one safetensors file. `tensors.json` has the type and shape of each tensor and the place of each of its parts, so
that any number of processes can read them, sharded in another way or whole. No file is a pickle.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.distributed as dist
from safetensors.torch import load, save_file
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, SavePlan, SavePlanner
from torch.distributed.checkpoint.state_dict_loader import load as load_distributed
from torch.distributed.checkpoint.state_dict_saver import save as save_distributed
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from bioclip import layout
from bioclip.digests import readable_json
from bioclip.errors import StorageError, TreeOfLifeError
from bioclip.training.checkpoints.verified_folder import FileEntry, VerifiedFolder, WriteFile

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class TensorPlaces:
    """Type, shape and parts of a tensor: (offsets, sizes, file) of each."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    parts: tuple[tuple[tuple[int, ...], tuple[int, ...], str], ...]


def write_parts(
    folder: VerifiedFolder, tensors: Tensors, group: dist.ProcessGroup, files: Mapping[str, WriteFile], about: Mapping[str, Any]
) -> None:
    """Write this process's parts of `tensors`; the first process also writes `files`, and the manifest once all parts are written.

    Called by all processes of `group`. Raises StorageError in all if one cannot write.
    """
    with _explained(folder):
        save_distributed(dict(tensors), storage_writer=_PartsWriter(folder, dist.get_rank(group), files, about), process_group=group)


def read_parts(folder: VerifiedFolder, make_targets: Callable[[Mapping[str, TensorPlaces]], dict[str, torch.Tensor]]) -> Tensors:
    """The tensors of the folder in those that `make_targets` gives for their places, sharded or whole; called by all processes.

    Raises StorageError if a file that this process reads differs from its digest.
    """
    places = read_places(folder)
    targets = make_targets(places)
    with _explained(folder), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # a single process reads for itself
        load_distributed(targets, storage_reader=_PartsReader(folder, places), no_dist=not dist.is_initialized())
    return targets


def read_places(folder: VerifiedFolder) -> dict[str, TensorPlaces]:
    """The places of every tensor of a folder that `write_parts` wrote."""
    content = json.loads(folder.read(layout.SHARDED_TENSORS))
    return {
        name: TensorPlaces(
            getattr(torch, one["dtype"]),
            tuple(one["shape"]),
            tuple((tuple(part["offset"]), tuple(part["size"]), part["file"]) for part in one["parts"]),
        )
        for name, one in content.items()
    }


@contextmanager
def _explained(folder: VerifiedFolder) -> Iterator[None]:
    """Replace torch's error, which lists the errors of all processes, by the first that was raised on purpose."""
    try:
        yield
    except CheckpointException as error:
        causes = [cause for cause, _ in error.failures.values()]
        raise next(
            (cause for cause in causes if isinstance(cause, TreeOfLifeError)),
            StorageError(f"the parts in {folder.storage.uri(folder.name)!r} could not be written or read: {causes[0]!r}"),
        ) from None


def _part_name(index: MetadataIndex) -> str:
    return f"{index.fqn}@{','.join(map(str, index.offset or ()))}"


class _PartsWriter(StorageWriter):
    """Writes what DCP has planned for this process into one file."""

    def __init__(self, folder: VerifiedFolder, rank: int, files: Mapping[str, WriteFile], about: Mapping[str, Any]) -> None:
        self.folder, self.file, self.files, self.about = folder, layout.process_parts(rank), files, about

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing is kept between checkpoints."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Nothing to set up."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """The plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """The plans as they are; an earlier attempt at the folder is removed before any process writes."""
        self.folder.remove()
        return plans

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write the file; each result has the file's name and its entry in the manifest."""
        parts = {_part_name(item.index): cast(torch.Tensor, planner.resolve_data(item)).contiguous() for item in plan.items}
        entry = self.folder.write_file(self.file, partial(save_file, parts)) if parts else None
        results = [WriteResult(item.index, parts[_part_name(item.index)].nbytes, (self.file, entry)) for item in plan.items]
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Write the places, the further files and the manifest."""
        every = [result for of_process in results for result in of_process]
        file_of = {result.index: result.storage_data[0] for result in every}
        entries: dict[str, FileEntry] = dict(result.storage_data for result in every)
        places = {name: _describe(name, tensor, file_of) for name, tensor in metadata.state_dict_metadata.items()}
        data = readable_json(places)
        files = {**self.files, layout.SHARDED_TENSORS: lambda path: path.write_bytes(data)}
        entries |= {name: self.folder.write_file(name, write) for name, write in files.items()}
        self.folder.finish(entries, self.about)

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """No addresses are used."""
        return False


def _describe(name: str, tensor: Any, file_of: Mapping[MetadataIndex, str]) -> dict[str, Any]:
    parts = [
        {"offset": list(part.offsets), "size": list(part.sizes), "file": file_of[MetadataIndex(name, part.offsets)]}
        for part in tensor.chunks
    ]
    return {"dtype": str(tensor.properties.dtype).removeprefix("torch."), "shape": list(tensor.size), "parts": parts}


class _PartsReader(StorageReader):
    """Reads what DCP has planned for this process, each file once and only after its digest is checked."""

    def __init__(self, folder: VerifiedFolder, places: Mapping[str, TensorPlaces]) -> None:
        self.folder, self.places = folder, places
        self.file_of = {MetadataIndex(name, offset): file for name, one in places.items() for offset, _, file in one.parts}

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing is kept between checkpoints."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The places in DCP's form."""
        return Metadata({name: _metadata(one) for name, one in self.places.items()})

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Nothing to set up."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """The plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """The plans as they are."""
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Copy each part into its target."""
        by_file = defaultdict(list)
        for item in plan.items:
            by_file[self.file_of[item.storage_index]].append(item)
        for file in sorted(by_file):
            stored = load(self.folder.read(file))
            for item in by_file[file]:
                part = stored[_part_name(item.storage_index)]
                for axis, (first, length) in enumerate(zip(item.storage_offsets, item.lengths, strict=True)):
                    part = part.narrow(axis, first, length)
                target = planner.resolve_tensor(item).detach()
                target.copy_(part)
                planner.commit_tensor(item, target)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """No addresses are used."""
        return False


def _metadata(places: TensorPlaces) -> TensorStorageMetadata:
    chunks = [ChunkStorageMetadata(torch.Size(offset), torch.Size(size)) for offset, size, _ in places.parts]
    return TensorStorageMetadata(TensorProperties(places.dtype), torch.Size(places.shape), chunks)
