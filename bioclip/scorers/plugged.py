"""A scorer from a user's module, named `module:function` in the settings.

The digest of the module's file is part of the identity of its scores: when the file changes, all images are scored again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bioclip.digests import canonical_json
from bioclip.errors import SettingsError, TreeOfLifeError
from bioclip.plugins import build_plugin, source_digest

if TYPE_CHECKING:
    from bioclip.scorers import Scorer

_RULE = "it must yield (record id, number) for images of its batch, at most once each"


@dataclass(frozen=True)
class PluggedScorer:
    """A user's scorer whose answers are checked; `source` is the digest of its module."""

    name: str
    scorer: Scorer
    source: str

    @property
    def identity(self) -> Any:
        """The scorer's own identity and the digest of its code."""
        return {"scorer": self.scorer.identity, "source": self.source}

    def score(self, images: Sequence[tuple[str, bytes]]) -> Iterator[tuple[str, float]]:
        """See Scorer. Raises SettingsError for an invalid score and for any exception of the scorer."""
        open_ids = {record_id for record_id, _ in images}
        try:
            answers = list(self.scorer.score(images))
        except TreeOfLifeError:
            raise
        except Exception as error:
            raise SettingsError(
                f"scorer {self.name!r} failed on a batch of {len(images)} images: {type(error).__name__}: {error}; "
                "leave out images that cannot be scored instead."
            ) from error
        for answer in answers:
            record_id, score = self._checked(answer)
            if record_id not in open_ids:
                raise SettingsError(f"scorer {self.name!r} gave {record_id!r} twice or without being asked for it; {_RULE}.")
            open_ids.remove(record_id)
            yield record_id, score

    def _checked(self, answer: Any) -> tuple[str, float]:
        try:
            record_id, score = answer
            score = float(score)
        except (TypeError, ValueError):
            raise SettingsError(f"scorer {self.name!r} gave {answer!r:.80}; {_RULE}.") from None
        if not math.isfinite(score):
            raise SettingsError(f"scorer {self.name!r} gave {score} for {record_id!r}; leave out images that cannot be scored instead.")
        return record_id, score


def build_plugged(name: str, options: Mapping[str, Any], batch_size: int) -> PluggedScorer:
    """The scorer that `module:function` builds; raises SettingsError that names the missing part."""
    scorer = build_plugin("scorer", name, options=dict(options), batch_size=batch_size)
    if not callable(getattr(scorer, "score", None)) or not hasattr(scorer, "identity"):
        raise SettingsError(
            f"scorer {name!r} gave a {type(scorer).__name__}, which has no `score` and `identity`; see docs/concepts/release-rules.md."
        )
    try:
        canonical_json(scorer.identity)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"scorer {name!r}: its identity must be JSON values: {error}.") from None
    return PluggedScorer(name, scorer, source_digest("scorer", name))
