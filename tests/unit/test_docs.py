"""Documents point at what is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")
SOURCE = re.compile(r"`((?:chatnode|chatclient|tests|docs|deploy)/[\w./-]+\.(?:py|md|json|txt))`")
MADE_BY_TESTS = {"docs/images/client.png"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_every_named_file_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    links = {(page.parent / link).resolve().relative_to(ROOT).as_posix() for link in LINK.findall(text)}
    named = {*links, *SOURCE.findall(text)} - MADE_BY_TESTS
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
