"""The Autobahn suite exists for Python 2.7 only: finds one, and builds an environment outside the checkout."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

_REQUIREMENTS = Path(__file__).with_name("autobahn.txt")
_VIRTUALENV = "virtualenv==16.7.12"


def python2() -> Path | None:
    """``CHAT_PYTHON2``, ``python2.7`` on PATH, or the newest one that pyenv has."""
    named = os.environ.get("CHAT_PYTHON2") or shutil.which("python2.7")
    if named and _is_python2(Path(named)):
        return Path(named)
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    installed = sorted(versions.glob("2.7.*/bin/python2.7"))
    return installed[-1] if installed else None


def _is_python2(python: Path) -> bool:
    probe = subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info[:2] != (2, 7))"], check=False)
    return probe.returncode == 0


def wstest(python: Path) -> Path:
    """The suite's command, built when it is not there yet."""
    key = hashlib.sha256(_REQUIREMENTS.read_bytes() + bytes(python)).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chatcluster"
    home = cache / f"autobahn-{key}"
    command = home / "venv" / "bin" / "wstest"
    mark = home / "complete"
    if not mark.exists():
        shutil.rmtree(home, ignore_errors=True)
        tool = home / "virtualenv"
        _run([python, "-m", "pip", "install", "-q", "--target", tool, _VIRTUALENV])
        _run([python, "-m", "virtualenv", "-q", home / "venv"], {"PYTHONPATH": str(tool)})
        _run([home / "venv" / "bin" / "pip", "install", "-q", "--no-deps", "-r", _REQUIREMENTS])
        mark.touch()
    return command


def _run(command: list[str | Path], more: dict[str, str] | None = None) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(command, env=environment | (more or {}), check=True, stdout=sys.stderr, timeout=600)
