"""Cross-entropies over the pairs of all processes, in memory that is linear in the batch.

Each process scores its own rows against the gathered rows of all. Rows are weighted so that the mean over the processes of the results,
and of their gradients, is that of one process with the whole batch. Logits are computed a block of rows at a time; with more than one
block they are computed a second time in the backward pass instead of being kept.

The last letters of a tensor's name are its shape:
B  pairs of this process     G  pairs of all processes     N  rows of a block     C  candidates     D  width of the embeddings
R  the seven ranks           T  lineages                   E  texts that an objective adds, a different number in each process
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

from bioclip.records import RANKS

if TYPE_CHECKING:
    from bioclip.training.data.batch import Batch
    from bioclip.training.data.lineage_matrix import LineageMatrix
    from bioclip.training.processes import Processes

MAX_LOGITS = 1 << 24
"""Logits of one block: 64 MB in float32."""


@dataclass(frozen=True)
class Labels:
    """Labels of N pairs, each an int64 tensor [N] except `node_NR`; `number_N` is their place in the batch of all processes.

    `taxon_N` is -1 for a pair without a taxon, and `node_NR` holds the taxon of each rank, -1 without a name. `included_N` is
    True for pairs of the streams that an objective contrasts.
    """

    number_N: torch.Tensor
    taxon_N: torch.Tensor
    node_NR: torch.Tensor
    caption_id_N: torch.Tensor
    included_N: torch.Tensor

    def __len__(self) -> int:
        return len(self.number_N)

    def __getitem__(self, rows: slice) -> Labels:
        return Labels(**{name: value[rows] for name, value in vars(self).items()})

    def is_pair_with(self, others: Labels) -> torch.Tensor:
        """[N, C], True where image and text belong to the same pair."""
        return self.number_N[:, None] == others.number_N

    def is_same_as(self, others: Labels, by_taxon: bool = True, by_caption: bool = True) -> torch.Tensor:
        """[N, C], True where image and text are no negatives: of one pair, of one taxon, or with one caption."""
        same_NC = self.is_pair_with(others)
        if by_taxon:
            same_NC = same_NC | ((self.taxon_N[:, None] == others.taxon_N) & (self.taxon_N[:, None] >= 0))
        if by_caption:
            same_NC = same_NC | (self.caption_id_N[:, None] == others.caption_id_N)
        return same_NC

    def rank_distance(self, others: Labels) -> torch.Tensor:
        """[N, C] ranks from the species up to the lowest taxon that both share: 0 for one taxon, 7 for different kingdoms.

        A pair without a taxon is at distance 7 from all others and at 0 from itself.
        """
        depth_NC = torch.zeros(len(self), len(others), dtype=torch.uint8, device=self.taxon_N.device)
        for rank in range(len(RANKS)):
            node_N, node_C = self.node_NR[:, rank], others.node_NR[:, rank]
            depth_NC[(node_N[:, None] == node_C) & (node_N[:, None] >= 0)] = rank + 1
        return (len(RANKS) - depth_NC).masked_fill(self.is_same_as(others, by_caption=False), 0)


def node_table(lineages: LineageMatrix) -> torch.Tensor:
    """int32 [T + 1, R]: the lineages' nodes, then a row of -1, which the taxon -1 indexes."""
    nodes_TR = torch.as_tensor(lineages.node_TR, dtype=torch.int32).reshape(-1, len(RANKS))
    return torch.cat([nodes_TR, torch.full((1, len(RANKS)), -1, dtype=torch.int32)])


def labels_of(batch: Batch, node_TR: torch.Tensor, streams: tuple[int, ...], processes: Processes) -> tuple[Labels, Labels]:
    """Labels of this process's B pairs, and of the G pairs of all; a lineage without any name counts as no taxon.

    `node_TR` is that of `node_table`; `streams` are those included, all if it is empty.
    """
    node_BR = node_TR[batch.taxon_B]
    included_B = torch.ones_like(batch.stream_B, dtype=torch.bool)
    if streams:
        included_B = torch.isin(batch.stream_B, torch.tensor(streams, device=batch.stream_B.device))
    first = processes.rank * len(batch.keys)
    mine = Labels(
        number_N=torch.arange(first, first + len(batch.keys), device=batch.taxon_B.device),
        taxon_N=batch.taxon_B.masked_fill((node_BR < 0).all(dim=1), -1),
        node_NR=node_BR,
        caption_id_N=batch.caption_id_B,
        included_N=included_B,
    )
    columns = [mine.number_N, mine.taxon_N, mine.caption_id_N, mine.included_N]
    packed_GK = processes.gather(torch.cat([torch.stack([column.long() for column in columns], dim=1), node_BR.long()], dim=1))
    number_G, taxon_G, caption_id_G, included_G = packed_GK[:, : len(columns)].unbind(dim=1)
    return mine, Labels(number_G, taxon_G, packed_GK[:, len(columns) :].int(), caption_id_G, included_G.bool())


def blocks(num_rows: int, num_candidates: int) -> Iterator[slice]:
    """Slices of rows with at most MAX_LOGITS logits each, if a row has no more."""
    size = max(1, MAX_LOGITS // max(1, num_candidates))
    return (slice(first, first + size) for first in range(0, num_rows, size))


def sum_blocks(num_rows: int, num_candidates: int, block: Callable[[slice], torch.Tensor]) -> torch.Tensor:
    """The sum of `block(rows)`, a scalar, over all blocks; with several, each is computed again in the backward pass."""
    chosen = list(blocks(num_rows, num_candidates)) or [slice(0, 0)]
    if len(chosen) == 1:
        return block(chosen[0])
    parts: list[torch.Tensor] = [checkpoint(block, rows, use_reentrant=False, preserve_rng_state=False) for rows in chosen]
    return torch.stack(parts).sum()


def cross_entropies(logits_NC: torch.Tensor, targets_NC: torch.Tensor, allowed_NC: torch.Tensor | None = None) -> torch.Tensor:
    """[N] cross-entropy of each row's target distribution and its softmax over the allowed candidates, all if None.

    A row without an allowed candidate gives 0.
    """
    if allowed_NC is not None:
        allowed_NC = allowed_NC | ~allowed_NC.any(dim=1, keepdim=True)
        logits_NC = logits_NC.masked_fill(~allowed_NC, -torch.inf)
    log_shares_NC = logits_NC.log_softmax(dim=1)
    return -(targets_NC * log_shares_NC.masked_fill(targets_NC == 0, 0)).sum(dim=1)


def keep_collective(loss: torch.Tensor, *gathered: torch.Tensor) -> torch.Tensor:
    """`loss` as a function of the gathered features even if no row of this process uses them: the backward pass of a gather waits for
    every process."""
    return loss + sum(0 * features.sum() for features in gathered)


def total_of(processes: Processes, values: torch.Tensor) -> torch.Tensor:
    """The sum of `values` over all processes, without a gradient."""
    return processes.gather(values.detach().sum().reshape(1)).sum()


def gather_ragged(processes: Processes, rows: torch.Tensor) -> torch.Tensor:
    """`rows` [N, ...] of all processes in the order of their ranks, where N may differ between processes; gradients as in `gather`."""
    if processes.world_size == 1:
        return rows
    lengths = processes.gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    padded = torch.cat([rows, rows.new_zeros((max(lengths) - len(rows), *rows.shape[1:]))])
    parts = torch.split(processes.gather(padded), max(lengths)) if max(lengths) else [rows] * len(lengths)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])
