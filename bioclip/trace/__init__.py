"""Provenance of an image, from the provider's row to the models trained on it."""

from bioclip.trace.lookup import find_images
from bioclip.trace.scope import Scope, open_scope, open_scope_at, with_withdrawals
from bioclip.trace.trace import FinalStage, ImageTrace, TraceStep, trace_image

__all__ = [
    "FinalStage",
    "ImageTrace",
    "Scope",
    "TraceStep",
    "find_images",
    "open_scope",
    "open_scope_at",
    "trace_image",
    "with_withdrawals",
]
