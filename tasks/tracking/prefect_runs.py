"""Links between runs in MLflow and Prefect's flow runs."""

from __future__ import annotations

from collections.abc import Mapping

from prefect.artifacts import create_link_artifact
from prefect.runtime import flow_run, task_run

from tasks.tracking.client import TrackedRun


def prefect_tags() -> dict[str, str]:
    """Tags of an MLflow run that name the present flow run."""
    return {
        "prefect.flow_run_id": str(flow_run.id or ""),
        "prefect.flow_run_name": str(flow_run.name or ""),
        "prefect.flow_run_url": _url(),
        "prefect.task_run_name": str(task_run.name or ""),
    }


def describe_run(sentence: str, addresses: Mapping[str, str]) -> str:
    """Markdown of a run's description: a sentence, then addresses and the flow run."""
    lines = [f"- {name}: `{address}`" for name, address in addresses.items()]
    if url := _url():
        lines.append(f"- Prefect: [{flow_run.name}]({url})")
    return "\n".join([sentence, "", *lines])


def link_artifact(run: TrackedRun) -> None:
    """Show the address of the MLflow run in Prefect's UI."""
    create_link_artifact(run.link, link_text=f"MLflow run {run.run_id}", key="mlflow-run", description="This result in MLflow")


def _url() -> str:
    url = str(flow_run.ui_url or "")
    return url if url.startswith("http") else ""
