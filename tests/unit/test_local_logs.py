"""What is shown of what children print, and files that stay bounded."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatnode.identity.demo_users import DEMO_USERS
from chatnode.local.console import Console, welcome
from chatnode.local.logs import LogFile, worth_showing
from chatnode.local.notices import Died, Ready, Said, Starting, Stopped
from chatnode.local.supervision import Role

SHOWN: list[tuple[Role, str, str | None]] = [
    ("nats", "[17] 2026/11/24 06:16:09.204 [INF] Server is ready", None),
    ("nats", "[17] 2026/11/24 06:16:09.204 [WRN] Slow disk", "warning: Slow disk"),
    ("nats", "[17] 2026/11/24 06:16:09.204 [ERR] no space left", "error: no space left"),
    ("mongod", '{"s":"I","msg":"Connection accepted","attr":{}}', None),
    ("mongod", '{"s":"W","msg":"Access control is not enabled"}', None),
    ("mongod", '{"s":"E","msg":"WiredTiger error","attr":{"error":28}}', "error: WiredTiger error 28"),
    ("mongod", "not structured", None),
    ("front door", "[2026-11-24 06:16:09.204][9][warning][main] [source/a.cc:1] no limit", None),
    ("front door", "[2026-11-24 06:16:09.204][9][critical][main] [source/a.cc:1] bind", "critical: bind"),
    ("node", '{"time":"x","level":"info","logger":"a.b","message":"serving","node":"node-1"}', "serving"),
    (
        "node",
        '{"level":"warning","message":"slow","room":"a","seconds":1.5,"code":"too late"}',
        "warning: slow room=a seconds=1.5 code='too late'",
    ),
    (
        "node",
        '{"level":"error","message":"lost","error":"Traceback\\n  File\\nOSError: gone"}',
        "error: lost (OSError: gone)",
    ),
    ("node", '{"level":"info","logger":"uvicorn.error","message":"Started server process"}', None),
    ("node", '{"level":"error","logger":"uvicorn.error","message":"bad"}', "error: bad"),
    ("node", '{"level":"debug","message":"detail"}', None),
    ("worker", "chatcluster: CHAT_PORT='x': a whole number", "chatcluster: CHAT_PORT='x': a whole number"),
    ("worker", "Traceback (most recent call last):", None),
    ("worker", '  File "a.py", line 1, in <module>', None),
    ("worker", "", None),
]


@pytest.mark.parametrize(("role", "line", "shown"), SHOWN)
def test_people_see_what_matters(role: Role, line: str, shown: str | None) -> None:
    assert worth_showing(role, line) == shown


@given(st.sampled_from([role for role, _, _ in SHOWN]), st.text())
def test_no_line_is_too_strange(role: Role, line: str) -> None:
    words = worth_showing(role, line)
    assert words is None or words


def test_a_log_file_turns_over_and_stays_bounded(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    log = LogFile(path, complain=pytest.fail, limit=100)
    for number in range(50):
        log.write(f"line {number:03d}")
    log.close()
    kept = (tmp_path / "node.log.1").read_text("utf-8").splitlines() + path.read_text("utf-8").splitlines()
    assert kept == [f"line {number:03d}" for number in range(50 - len(kept), 50)]
    assert path.stat().st_size <= 100
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["node.log", "node.log.1"]


def test_a_log_file_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "node.log"
    for line in ("first", "second"):
        log = LogFile(path, complain=pytest.fail)
        log.write(line)
        log.close()
    assert path.read_text("utf-8") == "first\nsecond\n"


def test_a_full_disk_is_told_once() -> None:
    said: list[str] = []
    log = LogFile(Path("/dev/full"), complain=said.append)
    log.write("one")
    log.write("two")
    log.close()
    assert said == ["cannot write /dev/full: No space left on device"]


def test_notices_are_lines_with_a_name() -> None:
    stream = io.StringIO()
    console = Console(stream)
    for notice in (
        Starting("mongod"),
        Ready("mongod", 1.26, "127.0.0.1:5", 17),
        Said("node-1", "serving"),
        Died("node-1", "ended with SIGKILL", 0.5),
        Stopped("node-1", willingly=True),
        Stopped("mongod", willingly=False),
    ):
        console.notify(notice)
    assert [line.strip() for line in stream.getvalue().splitlines()] == [
        "mongod │ starting",
        "mongod │ ready on 127.0.0.1:5, process 17 (1.3 s)",
        "node-1 │ serving",
        "node-1 │ ended with SIGKILL; starting it again in 0.5 s",
        "node-1 │ stopped",
        "mongod │ did not stop in time and was killed",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_what_is_awaited_until_it_is_ready() -> None:
    stream = Terminal()
    console = Console(stream)
    console.notify(Starting("mongod"))
    console.notify(Starting("nats-server"))
    assert "waiting for mongod, nats-server…" in stream.getvalue()
    console.notify(Ready("mongod", 1.0, "here", 1))
    assert "waiting for nats-server…" in stream.getvalue().rpartition("ready")[2]
    console.notify(Ready("nats-server", 1.0, "here", 1))
    assert "waiting" not in stream.getvalue().rpartition("ready")[2]


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_went_away_is_told_once_and_stops_nothing() -> None:
    closed: list[bool] = []
    console = Console(Closed(), on_closed=lambda: closed.append(True))
    console.tell("one")
    console.tell("two")
    assert closed == [True]


def test_the_welcome_names_the_url_and_every_demo_user() -> None:
    text = welcome("http://127.0.0.1:8080", ["http://127.0.0.1:8081"], DEMO_USERS, "/data")
    assert "http://127.0.0.1:8080" in text
    assert all(user.user in text and user.name in text for user in DEMO_USERS)
