"""The bill of materials names everything that is locked for the image, and what is bundled into the page."""

import json
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def components(name: str) -> dict[str, str]:
    document = json.loads((ROOT / "build" / f"sbom.{name}.cdx.json").read_text("utf-8"))
    assert document["bomFormat"] == "CycloneDX"
    return {re.sub(r"[-_.]+", "-", part["name"]).lower(): part["version"] for part in document["components"]}


def test_every_locked_package_is_in_the_bill_of_materials_with_its_version() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(["make", "--no-print-directory", "sbom"], cwd=ROOT, env=clean, check=True, capture_output=True)
    lock = (ROOT / "requirements" / "operator.txt").read_text("utf-8")
    assert components("python") == dict(re.findall(r"^([\w-]+)==([\w.]+)", lock, re.MULTILINE))
    declared = json.loads((ROOT / "web" / "package.json").read_text("utf-8"))["dependencies"]
    assert set(components("web")) >= set(declared)
