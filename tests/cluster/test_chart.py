"""The chart by the real Helm, without a cluster: what it renders, and what it refuses."""

import os

import pytest
import yaml

from chatoperator.kube import PLURALS
from tests.cluster.harness import tools
from tests.cluster.harness.cache import ROOT, HarnessError, run

pytestmark = pytest.mark.timeout(900)
MANIFEST = ROOT / "manifests" / "operator.yaml"


def helm(*arguments: str) -> str:
    return run([tools.built("helm") / "helm", *arguments])


def render(*settings: str, hooks: bool = False) -> str:
    chosen = [part for setting in settings for part in ("--set", setting)]
    place = ["-n", "chat-system", *([] if hooks else ["--no-hooks"])]
    return helm("template", "chat", str(ROOT / "chart"), *place, *chosen)


def kinds(rendered: str) -> list[str]:
    return [f"{thing['kind']}/{thing['metadata']['name']}" for thing in yaml.safe_load_all(rendered) if thing]


def test_the_manifests_are_what_the_chart_renders() -> None:
    rendered = render()
    if os.environ.get("CHAT_UPDATE_GOLDEN"):
        MANIFEST.write_text(rendered, "utf-8")
    assert MANIFEST.read_text("utf-8") == rendered, "CHAT_UPDATE_GOLDEN=1 makes it anew"


def test_the_definition_stays_when_the_chart_goes() -> None:
    things = [thing for thing in yaml.safe_load_all(render()) if thing]
    crd = next(thing for thing in things if thing["kind"] == "CustomResourceDefinition")
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert "CustomResourceDefinition/chatclusters.chat.skillhub.io" not in kinds(render("crd.install=false"))


def test_namespaced_mode_has_no_cluster_wide_right() -> None:
    rendered = kinds(render("watchNamespaces={a,b}"))
    assert not [name for name in rendered if name.startswith("ClusterRole")]
    assert rendered.count("Role/chat-operator") == 2


def test_no_rule_has_a_star_and_secrets_are_neither_listed_nor_watched() -> None:
    for thing in yaml.safe_load_all(render()):
        for rule in (thing or {}).get("rules", []):
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            if "secrets" in rule["resources"]:
                assert not {"list", "watch", "delete"} & set(rule["verbs"])


def test_helm_finds_nothing_to_complain_of() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", str(ROOT / "chart"))


def test_every_pod_of_the_chart_keeps_to_the_restricted_standard() -> None:
    things = [thing for thing in yaml.safe_load_all(render(hooks=True)) if thing]
    pods = [thing["spec"] for thing in things if thing["kind"] == "Pod"]
    pods += [thing["spec"]["template"]["spec"] for thing in things if thing["kind"] == "Deployment"]
    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}


def test_every_kind_that_is_written_may_be_written() -> None:
    """What the operator applies, lists and deletes is in its rules, and those are the same in both modes."""
    whole, narrow = _rules(""), _rules("watchNamespaces={a}")
    assert whole == narrow
    allowed = {(group, kind) for rule in whole for group in rule["apiGroups"] for kind in rule["resources"]}
    for kind, plural in PLURALS.items():
        if kind not in {"CustomResourceDefinition", "Lease"}:
            assert plural in {resource for _, resource in allowed}, kind


def _rules(setting: str) -> list[dict[str, list[str]]]:
    rendered = yaml.safe_load_all(render(*([setting] if setting else [])))
    wanted = ("ClusterRole", "chat-system-chat-operator") if not setting else ("Role", "chat-operator")
    return next(thing["rules"] for thing in rendered if thing and (thing["kind"], thing["metadata"]["name"]) == wanted)


@pytest.mark.parametrize("setting", ["replicas=9", "logLevel=loud", "unknown=1", "image.repository="])
def test_values_that_mean_nothing_are_refused(setting: str) -> None:
    with pytest.raises(HarnessError, match="schema"):
        render(setting)
