"""The leakage gate: no copy of an evaluation image, no further image of its encounter and no held-out species in training."""

from bioclip.leakage.fingerprints import gate_table
from bioclip.leakage.gate import GUARDS, Leaks, Unchecked, find_leaks
from bioclip.leakage.guards import EvaluationSide
from bioclip.schemas import FINGERPRINT_SCHEMA, LEAK_SCHEMA

__all__ = ["FINGERPRINT_SCHEMA", "GUARDS", "LEAK_SCHEMA", "EvaluationSide", "Leaks", "Unchecked", "find_leaks", "gate_table"]
