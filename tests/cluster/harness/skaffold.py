"""What ``skaffold.yaml`` says is built and installed: the tests do the very same without its binary.

The fields are those of https://skaffold.dev/docs/references/yaml/ for ``skaffold/v4beta13`` that the file uses; any
other one is refused, as Skaffold itself refuses what it does not know.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from tests.cluster.harness.cache import ROOT

FILE: Final = ROOT / "skaffold.yaml"
_TEMPLATE: Final = re.compile(r"\{\{\.IMAGE_(REPO|TAG)_(\w+)\}\}")


class _Strict(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    pass


class Command(_Strict, frozen=True):
    command: tuple[str, ...]


class Hooks(_Strict, frozen=True):
    before: tuple[Command, ...] = ()


class Docker(_Strict, frozen=True):
    dockerfile: str


class Artifact(_Strict, frozen=True):
    image: str
    docker: Docker
    context: str = "."
    hooks: Hooks = Hooks()


class Local(_Strict, frozen=True):
    push: bool
    use_buildkit: bool


class TagPolicy(_Strict, frozen=True):
    input_digest: Mapping[str, None]


class Build(_Strict, frozen=True):
    artifacts: tuple[Artifact, ...]
    local: Local
    tag_policy: TagPolicy


class Release(_Strict, frozen=True):
    name: str
    chart_path: str
    namespace: str
    create_namespace: bool = False
    skip_build_dependencies: bool = False
    wait: bool = False
    set_value_templates: Mapping[str, str] = {}
    set_values: Mapping[str, str] = {}

    def values(self, image: str) -> Sequence[str]:
        """``name=value`` as Skaffold gives them to Helm for an image that is called ``repository:tag``."""
        repository, _, tag = image.rpartition(":")
        parts = {"REPO": repository, "TAG": tag}
        templates = {
            name: _TEMPLATE.sub(lambda found: parts[found[1]], template)
            for name, template in self.set_value_templates.items()
        }
        return [f"{name}={value}" for name, value in {**templates, **self.set_values}.items()]


class Helm(_Strict, frozen=True):
    releases: tuple[Release, ...]


class Deploy(_Strict, frozen=True):
    helm: Helm


class Metadata(_Strict, frozen=True):
    name: str


class Config(_Strict, frozen=True):
    api_version: Literal["skaffold/v4beta13"]
    kind: Literal["Config"]
    metadata: Metadata
    build: Build
    deploy: Deploy


class Source(Struct, frozen=True):
    """Where the image's parts are."""

    context: Path
    dockerfile: Path


def load(text: str | None = None) -> Config:
    """:class:`msgspec.ValidationError` for a field that the version does not have, or that has another type."""
    return msgspec.yaml.decode(FILE.read_bytes() if text is None else text.encode(), type=Config)


def artifact() -> Source:
    only = load().build.artifacts[0]
    context = ROOT / only.context
    return Source(context, context / only.docker.dockerfile)


def release() -> Release:
    return load().deploy.helm.releases[0]
