"""``skaffold.yaml`` says what the cluster tests do, in the fields of its own version."""

import re

import msgspec
import pytest
import yaml

from tests.cluster.harness import skaffold
from tests.cluster.harness.cache import ROOT


def test_it_has_no_field_that_its_version_does_not_have() -> None:
    found = skaffold.load()
    assert found.api_version == "skaffold/v4beta13"
    with pytest.raises(msgspec.ValidationError, match="unknown field `artifactOverrides`"):
        skaffold.load(skaffold.FILE.read_text("utf-8").replace("setValueTemplates", "artifactOverrides"))


def test_it_builds_what_is_there() -> None:
    source = skaffold.artifact()
    assert source.dockerfile.is_file()
    assert (source.context / ".dockerignore").is_file()
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for hook in skaffold.load().build.artifacts[0].hooks.before:
        program, target = hook.command
        assert program == "make"
        assert target in targets


def test_it_gives_the_chart_values_that_the_chart_knows() -> None:
    release = skaffold.release()
    known = yaml.safe_load((ROOT / release.chart_path / "values.yaml").read_text("utf-8"))
    values = dict(value.split("=", 1) for value in release.values("registry.test:5000/chatcluster:abc123"))
    assert values["image.repository"] == "registry.test:5000/chatcluster"
    assert values["image.tag"] == "abc123"
    for name in values:
        part = known
        for key in name.split("."):
            part = part[key]


def test_every_template_names_the_image_that_is_built() -> None:
    built = skaffold.load().build.artifacts[0].image
    for template in skaffold.release().set_value_templates.values():
        assert re.fullmatch(rf"\{{\{{\.IMAGE_(REPO|TAG)_{built}\}}\}}", template)
