"""The leakage gate: no copy of an evaluation image, no further image of its encounter and no held-out species in training."""

from bioclip.leakage.evidence import EVIDENCE_SCHEMA
from bioclip.leakage.fingerprints import GATE_SCHEMA, gate_table
from bioclip.leakage.gate import GUARDS, Leaks, Unchecked, find_leaks
from bioclip.leakage.guards import EvaluationSide

__all__ = ["EVIDENCE_SCHEMA", "GATE_SCHEMA", "GUARDS", "EvaluationSide", "Leaks", "Unchecked", "find_leaks", "gate_table"]
