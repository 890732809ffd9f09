"""Flow runs are named after what they do and where, so that a list of runs can be read."""

from __future__ import annotations

import pytest
from prefect import Flow, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

from bioclip.errors import TreeOfLifeError
from bioclip.settings import PipelineSettings
from flows.curate import curate
from flows.learning import evaluate, train
from flows.tree_of_life import tree_of_life


@pytest.mark.usefixtures("use_shared_prefect")
@pytest.mark.parametrize(
    ("flow", "name"),
    [
        (tree_of_life, "tree-of-life in {}"),
        (curate, "curate in {}"),
        (train, "train on latest in {}"),
        (evaluate, "evaluate on latest in {}"),
    ],
    ids=lambda value: value.name if isinstance(value, Flow) else "",
)
def test_a_run_is_named_after_its_workspace(flow: Flow[..., object], name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("named")
    settings = PipelineSettings.model_validate({"workspace": {"uri": str(folder)}})
    with pytest.raises(TreeOfLifeError):  # there are no sources, and there is no release
        flow(settings)
    with get_client(sync_client=True) as client:
        chosen = FlowRunFilter(name=FlowRunFilterName(any_=[name.format(folder)]))
        assert len(client.read_flow_runs(flow_run_filter=chosen)) == 1
