"""Leakage between training and evaluation: fingerprints of both, guards that compare them, and the gate that applies the guards."""

from bioclip.leakage.fingerprints import gate_table
from bioclip.leakage.gate import GUARDS, Leaks, Unchecked, find_leaks
from bioclip.leakage.guards import SetFingerprints
from bioclip.schemas import FINGERPRINT_SCHEMA, LEAK_SCHEMA

__all__ = ["FINGERPRINT_SCHEMA", "GUARDS", "LEAK_SCHEMA", "Leaks", "SetFingerprints", "Unchecked", "find_leaks", "gate_table"]
