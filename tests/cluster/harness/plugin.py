"""``kubectl chat``, found by kubectl on the PATH as a person has it from the Python package."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.cluster.harness.cache import ROOT, HarnessError
from tests.cluster.harness.world import World

_SCRIPTS: Final[Mapping[str, str]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]


def kubectl_chat(world: World, folder: Path, *arguments: str) -> str:
    """What it says. :class:`HarnessError` with its complaint when it refuses."""
    plugin = folder / "kubectl-chat"
    module, _, function = _SCRIPTS[plugin.name].partition(":")
    plugin.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    plugin.chmod(0o755)
    env = {
        **os.environ,
        "KUBECONFIG": str(world.kubeconfig),
        "PATH": os.pathsep.join((str(folder), str(world.kubectl_folder), os.environ.get("PATH", os.defpath))),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "operator"))),
    }
    done = subprocess.run(
        ["kubectl", "chat", *arguments], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise HarnessError(f"kubectl chat {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
