"""Contrast between an image and the taxa of one rank at a time, so that an ancestor's name is never a negative.

Paper: Z. Tao et al., Beyond Flat Labels: Level-Restricted Contrastive Learning for Hierarchical Fine-Grained Vision Classification
(BioCLIP-HC), 2026, arXiv:2606.21838.

At every rank r, the distinct taxa U_r of the batch are written as captions down to that rank ("a photo of Animalia Chordata Aves."),
each encoded once per process. With t_c their text features, n_c the images of taxon c, and N_r the images that have a taxon of rank r:

    image   1/|U_r| sum_c 1/n_c sum_{i in c} -log( exp(s u_i.t_c) / sum_{d in U_r} exp(s u_i.t_d) )
    text    1/|U_r| sum_c 1/n_c sum_{i in c} -log( exp(s u_i.t_c) / sum_{j in N_r} exp(s u_j.t_c) )

The loss is half their sum, averaged over the ranks (the paper adds the ranks up: multiply `weight` by their number). Every taxon counts
alike, as in the paper's group-balanced form; `balanced: false` lets every image count alike in the first term. With the species alone, one
image of each, it equals `clip`.

Use: beside `clip`, for answers above the species and for predictions that agree from rank to rank. It encodes up to seven further texts
per taxon of the batch; fewer `ranks` cost less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field

from bioclip.captions import captions
from bioclip.plugins import read_options
from bioclip.records import RANKS
from bioclip.training.contrast import cross_entropies, gather_ragged, keep_collective, sum_blocks
from bioclip.training.data.caption_types import caption_id
from bioclip.training.objectives.contract import Objective, ObjectiveContext, Outputs
from bioclip.training.objectives.pairs import PairOptions

if TYPE_CHECKING:
    from bioclip.training.data import Batch

Rank = Literal["kingdom", "phylum", "class", "order", "family", "genus", "species"]
_NO_TEXT = -1


class LevelRestrictedOptions(PairOptions):
    """Options of `level_restricted`."""

    ranks: tuple[Rank, ...] = Field(("kingdom", "phylum", "class", "order", "family", "genus", "species"), min_length=1)
    """Ranks that are contrasted."""
    caption: Literal["taxon", "sci"] = "taxon"
    """Caption of a taxon: all names down to it, or its own name alone."""
    balanced: bool = True
    """Every taxon counts alike for the images, not every image."""


class LevelRestrictedObjective(Objective):
    """See the module. `L` counts the chosen ranks, `U` the distinct taxa of one rank in the batch of all processes."""

    def __init__(self, options: LevelRestrictedOptions, context: ObjectiveContext) -> None:
        super().__init__()
        self.options, self.processes = options, context.processes
        self.levels = [RANKS.index(rank) for rank in options.ranks]
        self.names_TR = context.lineages.names_TR
        self.text_of = lru_cache(maxsize=1 << 20)(self._text_of)

    def _text_of(self, taxon: int, rank: int) -> str:
        """The caption of a lineage down to `rank`, empty if it has no name there."""
        names = self.names_TR[taxon] if taxon >= 0 else ()
        if not names or not names[rank]:
            return ""
        return captions(dict(zip(RANKS[: rank + 1], names, strict=False)), "")[self.options.caption]

    def _texts(self, batch: Batch) -> list[tuple[str, ...]]:
        """The caption of each of the B pairs at each of the L levels, empty without a taxon or outside the chosen streams."""
        pairs = zip(batch.taxon_B.tolist(), batch.stream_B.tolist(), strict=True)
        rows = [taxon if not self.options.streams or stream in self.options.streams else -1 for taxon, stream in pairs]
        return [tuple(self.text_of(taxon, rank) for rank in self.levels) for taxon in rows]

    def _distinct(self, texts: Sequence[tuple[str, ...]]) -> list[tuple[int, str]]:
        """(level, caption) of every taxon of this process's pairs, once each."""
        return sorted({(level, text) for row in texts for level, text in enumerate(row) if text})

    def added_texts(self, batch: Batch) -> Sequence[str]:
        """The captions of all taxa above, and at, the pairs of this process."""
        return [text for _, text in self._distinct(self._texts(batch))]

    def loss(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """See the module."""
        images_BD, device, rank = outputs.image_features_BD, batch.taxon_B.device, self.processes.rank
        texts = self._texts(batch)
        ids_BL = torch.tensor([[caption_id(text) if text else _NO_TEXT for text in row] for row in texts], device=device)
        added = [(level, caption_id(text), rank) for level, text in self._distinct(texts)]
        added_E3 = gather_ragged(self.processes, torch.tensor(added, dtype=torch.int64, device=device).reshape(-1, 3))
        images_GD, added_ED = self.processes.gather(images_BD), gather_ragged(self.processes, outputs.added_features_ED)
        ids_GL = self.processes.gather(ids_BL)
        total = images_BD.new_zeros(())
        for level in range(len(self.levels)):
            rows = (added_E3[:, 0] == level).nonzero()[:, 0]
            taxa = _Taxa.of(added_E3[rows, 1:], added_ED[rows], ids_GL[:, level])
            if len(taxa.features_UD):
                total = total + self._of_images(images_BD, ids_BL[:, level], taxa, outputs.logit_scale)
                total = total + self._of_texts(images_GD, taxa, outputs.logit_scale)
        mean = self.processes.world_size * total / (2 * len(self.levels))
        return keep_collective(mean, images_GD, added_ED)

    def _of_images(self, images_BD: torch.Tensor, ids_B: torch.Tensor, taxa: _Taxa, scale: torch.Tensor) -> torch.Tensor:
        """The part of this process's images in the first term."""
        num_taxa, taxon_B, has_taxon_B = len(taxa.features_UD), taxa.position(ids_B), ids_B != _NO_TEXT
        count_B = taxa.count_U[taxon_B] * num_taxa if self.options.balanced else taxa.count_U.sum().expand_as(taxon_B)

        def block(rows: slice) -> torch.Tensor:
            logits_NU = scale * images_BD[rows] @ taxa.features_UD.T
            losses_N = torch.nn.functional.cross_entropy(logits_NU, taxon_B[rows], reduction="none")
            return (losses_N / count_B[rows]).masked_fill(~has_taxon_B[rows], 0).sum()

        return sum_blocks(len(images_BD), num_taxa, block)

    def _of_texts(self, images_GD: torch.Tensor, taxa: _Taxa, scale: torch.Tensor) -> torch.Tensor:
        """The part of the taxa that this process counts in the second term."""
        mine = (taxa.owner_U == self.processes.rank).nonzero()[:, 0]
        features_UD, count_U = taxa.features_UD[mine], taxa.count_U[mine]

        def block(rows: slice) -> torch.Tensor:
            of_taxon_NG = (mine[rows, None] == taxa.taxon_G) & taxa.has_taxon_G
            targets_NG = of_taxon_NG.to(features_UD.dtype) / count_U[rows, None]
            logits_NG = scale * features_UD[rows] @ images_GD.T
            return cross_entropies(logits_NG, targets_NG, taxa.has_taxon_G.expand_as(of_taxon_NG)).sum()

        return sum_blocks(len(mine), len(images_GD), block) / len(taxa.features_UD)


class _Taxa:
    """The U distinct taxa of one rank: ids in ascending order, features, the process that counts each, and its images."""

    def __init__(self, id_U: torch.Tensor, features_UD: torch.Tensor, owner_U: torch.Tensor, id_G: torch.Tensor) -> None:
        self.id_U, self.features_UD, self.owner_U = id_U, features_UD, owner_U
        self.has_taxon_G = id_G != _NO_TEXT
        self.taxon_G = self.position(id_G) if len(id_U) else id_G
        self.count_U = torch.bincount(self.taxon_G[self.has_taxon_G], minlength=len(id_U))

    @classmethod
    def of(cls, id_and_owner_E2: torch.Tensor, features_ED: torch.Tensor, id_G: torch.Tensor) -> _Taxa:
        """A taxon that several processes have encoded counts for the first of them."""
        id_U, number_E = torch.unique(id_and_owner_E2[:, 0], return_inverse=True)
        places_E = torch.arange(len(number_E), device=number_E.device)
        first_U = places_E.new_full((len(id_U),), len(number_E)).scatter_reduce(0, number_E, places_E, "amin")
        return cls(id_U, features_ED[first_U], id_and_owner_E2[first_U, 1], id_G)

    def position(self, ids: torch.Tensor) -> torch.Tensor:
        """Number of the taxon of each id; any number for an id that is not among them."""
        return torch.searchsorted(self.id_U, ids.contiguous()).clamp(max=len(self.id_U) - 1)


def build(options: Mapping[str, Any], context: ObjectiveContext) -> LevelRestrictedObjective:
    """See ObjectiveBuilder."""
    chosen = read_options(LevelRestrictedOptions, options, "objective 'level_restricted'", "training.objectives")
    return LevelRestrictedObjective(chosen, context)
