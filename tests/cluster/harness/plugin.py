"""``kubectl chat``, found by kubectl on the PATH as a person has it from the Python package."""

import os
import subprocess
import sys
from pathlib import Path

from tests.cluster.harness.cache import ROOT, HarnessError
from tests.cluster.harness.world import World


def kubectl_chat(world: World, folder: Path, *arguments: str) -> str:
    """What it says. :class:`HarnessError` with its complaint when it refuses."""
    plugin = folder / "kubectl-chat"
    plugin.write_text(f'#!/bin/sh\nexec {sys.executable} -m chatoperator.plugin "$@"\n')
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
