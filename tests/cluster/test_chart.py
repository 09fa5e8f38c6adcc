"""The chart by the real Helm, without a cluster: what it renders, and what it refuses."""

import os

import pytest
import yaml

from tests.cluster.harness import tools
from tests.cluster.harness.cache import ROOT, HarnessError, run

pytestmark = pytest.mark.timeout(900)
MANIFEST = ROOT / "manifests" / "operator.yaml"


def render(*settings: str) -> str:
    chosen = [part for setting in settings for part in ("--set", setting)]
    place = ["-n", "chat-system", "--no-hooks"]
    return run([tools.built("helm") / "helm", "template", "chat", ROOT / "chart", *place, *chosen])


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


@pytest.mark.parametrize("setting", ["replicas=9", "logLevel=loud", "unknown=1", "image.repository="])
def test_values_that_mean_nothing_are_refused(setting: str) -> None:
    with pytest.raises(HarnessError, match="schema"):
        render(setting)
