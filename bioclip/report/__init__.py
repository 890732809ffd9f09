"""Reports: a self-contained page on a release, what became of every provider row, and how a model trained on it scores."""

from bioclip.report.stage import plan_report

__all__ = ["plan_report"]
