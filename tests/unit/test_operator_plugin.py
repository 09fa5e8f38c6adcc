"""``kubectl chat``: what it says of a ChatCluster, and of what it cannot do."""

from pathlib import Path

import msgspec
import pytest

from chatoperator.objects import Object
from chatoperator.plan.decide import plan
from chatoperator.plan.observed import Workload
from chatoperator.plan.troubles import Trouble
from chatoperator.plugin import default_namespace, main, scaling_lines, status_lines
from tests.unit.operator_cases import LATER, NOW, cluster, nodes, observed


def written(**changes: object) -> Object:
    """A ChatCluster with the status that a second visit would leave."""
    first = plan(cluster(), observed(), NOW).status
    status = plan(cluster(), observed(status=first, **changes), LATER).status
    metadata = {"name": "chat", "namespace": "school"}
    return {
        "metadata": metadata,
        "spec": {"nodes": {"min": 2, "max": 10}},
        "status": msgspec.to_builtins(status),
    }


def test_status_says_how_it_is_and_marks_what_is_not_well() -> None:
    lines = list(status_lines(written(mongodb=None)))
    assert lines[0] == "school/chat"
    assert "  nodes        2 ready of 2, 2 up to date" in lines
    assert [line for line in lines if line.startswith("! DatastoresReady")]
    assert not [line for line in lines if line.startswith("! Paused")]


def test_causes_are_shown_once() -> None:
    cause = Trouble("nats", "chat-nats-2", "image nats:0 cannot be pulled")
    lines = list(
        status_lines(written(workloads={**observed().workloads, "nats": Workload(3, 3, 3, 2)}, troubles=(cause,)))
    )
    assert lines[-2:] == ["because", "  chat-nats-2: image nats:0 cannot be pulled"]
    assert "! DatastoresReady  False  Lacking: 2 of 3 NATS servers are ready" in lines
    assert "\n".join(lines).count("cannot be pulled") == 1


def test_scaling_is_explained() -> None:
    lines = list(scaling_lines(written(nodes=nodes(a=5, b=9))))
    assert lines[0] == "2 nodes, between 2 and 10"
    assert lines[1].startswith("because ")
    assert any(line.startswith("MetricsFresh") and "was not heard" in line for line in lines)


def test_a_cluster_that_was_never_looked_at_can_be_shown() -> None:
    bare: Object = {"metadata": {"name": "new", "namespace": "x"}, "spec": {}}
    assert list(status_lines(bare))
    assert list(scaling_lines(bare))


@pytest.mark.parametrize(
    ("context", "namespace"), [("{namespace: school}", "school"), ("{cluster: a}", "default"), ("{}", "default")]
)
def test_the_namespace_is_the_contexts(context: str, namespace: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(f"current-context: a\ncontexts: [{{name: b, context: {{}}}}, {{name: a, context: {context}}}]\n")
    assert default_namespace(path) == namespace


def test_what_cannot_be_done_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kubeconfig", str(tmp_path / "none"), "status"]) == 1
    assert "kubectl chat: " in capsys.readouterr().err
