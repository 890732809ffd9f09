"""The shard of each sample: a kept shard of the parent, or a new one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bioclip import layout
from bioclip.captions import TEXT_MEMBERS
from bioclip.records import RANKS, partition_bounds
from bioclip.releases.manifest import SPLITS
from bioclip.selection.candidates import Candidates, Mask, Rows
from bioclip.selection.parent import CONTENT, Parent, inherited_name
from bioclip.selection.splits import SPLIT_NAMES
from bioclip.selection.texts import TextKey, text_key
from bioclip.settings import ShardSettings

Columns = dict[str, pa.ChunkedArray]
_LEAST_SAMPLES, _MOST_SAMPLES, _SHARDS = 100, 10_000, 1_000
_TAR_BLOCK_BYTES = 512


@dataclass(frozen=True)
class Former:
    """Shards and splits of the candidates in the parent: `shard` [N] indexes its `shards`, -1 for none; `split` [N]; `is_touched` [shards]
    marks the shards that lost a sample or contain a changed one."""

    shards: tuple[str, ...]
    shard: npt.NDArray[np.int32]
    split: npt.NDArray[np.int8]
    is_touched: Mask

    @property
    def is_kept(self) -> Mask:
        """Candidates [N] whose shard is kept."""
        is_kept: Mask = ~np.append(self.is_touched, True)[self.shard] & (self.shard >= 0)
        return is_kept


def number_shards(
    candidates: Candidates, settings: ShardSettings, num_partitions: int, parent: Parent | None = None, former: Former | None = None
) -> tuple[pa.Array, dict[str, int]]:
    """(shard [N] of every candidate, '' without a split; counts of kept, rewritten and added samples).

    A new shard holds samples of one split and one partition (new samples of a release with a parent: of consecutive partitions), and as
    many as the settings allow; it is numbered through its split. `former` is given if the parent's shards can be reused.
    """
    num_samples = int((candidates.split > 0).sum())
    size = settings.samples_per_shard or min(max(num_samples // _SHARDS, _LEAST_SAMPLES), _MOST_SAMPLES)
    names = [""] + [inherited_name(parent.release.version, name) for name in former.shards] if parent and former else [""]
    numbers = np.zeros(len(candidates), np.int32)
    source = np.zeros(len(candidates), np.int32)
    partition = _partitions(candidates, num_partitions)
    if former:
        numbers[former.is_kept] = former.shard[former.is_kept] + 1
        is_rewritten = (former.shard >= 0) & ~former.is_kept & (candidates.split == former.split) & (candidates.split > 0)
        source[is_rewritten] = former.shard[is_rewritten] + 1
        is_new = (candidates.split > 0) & (numbers == 0) & (source == 0)
        partition[is_new] = _runs(np.bincount(partition[is_new], minlength=num_partitions), size)[partition[is_new]]
    rows = np.flatnonzero((candidates.split > 0) & (numbers == 0))
    rows = rows[np.lexsort((rows, source[rows], partition[rows], candidates.split[rows]))]
    keys = np.stack([candidates.split[rows], partition[rows], source[rows]])
    sizes = _planned_bytes(candidates, rows, settings)
    following = parent.next_shards if parent and former else dict.fromkeys(SPLITS, 0)
    for start, stop in _packs(keys, sizes, size, settings.bytes_per_shard):
        split = SPLIT_NAMES[candidates.split[rows[start]]]
        numbers[rows[start:stop]] = len(names)
        names.append(layout.shard_name(split, following[split]))
        following[split] += 1
    return pa.array(names).take(pa.array(numbers)), _notes(candidates, former, source > 0) if former else {}


def find_former(candidates: Candidates, parts: Iterable[tuple[int, int, Columns]], parent: Parent, changed: set[TextKey]) -> Former:
    """Compare candidates with assigned splits to the samples of a parent.

    `parts` are (first row, row after the last, columns as samples have them) of all candidates in turn; `changed` are the taxa with a text
    that differs from the parent's.
    """
    expected = {shard["name"]: shard["num_samples"] for split in parent.release.manifest["splits"].values() for shard in split["shards"]}
    names = sorted(expected)
    shard, split = np.full(len(candidates), -1, np.int32), np.zeros(len(candidates), np.int8)
    lineages, taxa = candidates.combined("accepted_id", *RANKS)
    has_same_texts = ~np.array([text_key(row) in changed for row in taxa], np.bool_)[lineages]
    num_same = np.zeros(len(names), np.int64)
    for start, stop, columns in parts:
        if start == stop:
            continue
        ids = columns["record_id"].combine_chunks()
        before = parent.samples([*CONTENT, "shard"], ids[0].as_py(), ids[-1].as_py())
        places = pc.index_in(before["record_id"], value_set=ids)
        before, places = before.filter(places.is_valid()), pc.drop_null(places)
        rows = places.to_numpy() + start
        shard[rows] = pc.index_in(before["shard"], value_set=pa.array(names)).to_numpy()
        split[rows] = pc.index_in(before["split"], value_set=pa.array(SPLIT_NAMES)).to_numpy()
        is_same = has_same_texts[rows] & (candidates.split[rows] == split[rows])
        for name in CONTENT:
            if name != "split":
                is_same &= pc.fill_null(pc.equal(columns[name].take(places), before[name]), False).to_numpy()
        num_same += np.bincount(shard[rows][is_same], minlength=len(names))
    return Former(tuple(names), shard, split, num_same < np.array([expected[name] for name in names]))


def _partitions(candidates: Candidates, num_partitions: int) -> npt.NDArray[np.int32]:
    """The partition [N] of each candidate's record id."""
    ids = candidates.column("record_id")
    bounds = [partition_bounds(index, num_partitions)[0] for index in range(num_partitions)]
    starts = [bisect_left(range(len(ids)), bound, key=lambda row: ids[row].as_py()) for bound in bounds]
    return np.repeat(np.arange(num_partitions, dtype=np.int32), np.diff([*starts, len(ids)]))


def _runs(num_new: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int32]:
    """Partition -> first partition of the run whose new samples share shards; a run ends before its samples exceed `size`."""
    runs = np.arange(len(num_new), dtype=np.int32)
    first, total = -1, 0
    for partition in np.flatnonzero(num_new).tolist():
        if first < 0 or total + num_new[partition] > size:
            first, total = partition, 0
        runs[partition] = first
        total += int(num_new[partition])
    return runs


def _planned_bytes(candidates: Candidates, rows: Rows, settings: ShardSettings) -> npt.NDArray[np.int64]:
    """Approximate bytes of each sample in a tar: its stored image, fewer if it will be resized, and its other members' blocks."""
    longer = np.maximum(candidates.numbers("width")[rows], candidates.numbers("height")[rows])
    shrinking = np.minimum(1.0, settings.image_px / np.maximum(longer, 1)) ** 2
    num_blocks = np.ceil(candidates.numbers("num_bytes")[rows] * shrinking / _TAR_BLOCK_BYTES).astype(np.int64)
    # Each member has a block for its header; each text fits into one more, the metadata into two.
    planned: npt.NDArray[np.int64] = (num_blocks + 1 + 3 + 2 * (len(TEXT_MEMBERS) + 1)) * _TAR_BLOCK_BYTES
    return planned


def _packs(keys: npt.NDArray[np.int32], num_bytes: npt.NDArray[np.int64], most_samples: int, most_bytes: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of the samples of each shard: of one key [3, samples], within the limits of samples and bytes; a single larger sample
    has its own shard."""
    if not len(num_bytes):
        return
    ends = np.append(0, np.cumsum(num_bytes))
    bounds = [0, *(np.flatnonzero((keys[:, 1:] != keys[:, :-1]).any(axis=0)) + 1).tolist(), keys.shape[1]]
    for begin, end in pairwise(bounds):
        start = begin
        while start < end:
            fitting = int(np.searchsorted(ends, ends[start] + most_bytes, side="right")) - 1
            stop = min(end, start + most_samples, max(fitting, start + 1))
            yield start, stop
            start = stop


def _notes(candidates: Candidates, former: Former, is_rewritten: Mask) -> dict[str, int]:
    num_samples, num_kept, num_rewritten = (int(mask.sum()) for mask in (candidates.split > 0, former.is_kept, is_rewritten))
    return {
        "samples_kept_in_place": num_kept,
        "samples_rewritten": num_rewritten,
        "samples_added": num_samples - num_kept - num_rewritten,
        "shards_kept": int((~former.is_touched).sum()),
        "shards_given_up": int(former.is_touched.sum()),
    }
