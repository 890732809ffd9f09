"""The leakage gate: no copy of an evaluation image, no further image of its encounter and no held-out species in training."""

from bioclip.duplicates.leakage.evidence import EVIDENCE_SCHEMA
from bioclip.duplicates.leakage.gate import GUARDS, Leaks, Unchecked, find_leaks
from bioclip.duplicates.leakage.guards import EvaluationSide
from bioclip.duplicates.leakage.images import GATE_SCHEMA, gate_table

__all__ = ["EVIDENCE_SCHEMA", "GATE_SCHEMA", "GUARDS", "EvaluationSide", "Leaks", "Unchecked", "find_leaks", "gate_table"]
