"""The command line: what it takes, what it refuses, and its exit codes."""

import pytest

from chatnode import __version__, cli


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out == f"chatcluster {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["down"],
        ["up", "--nodes", "0"],
        ["up", "--nodes", "17"],
        ["up", "--nodes", "two"],
        ["up", "--port", "65536"],
        ["up", "--admin-port", "-1"],
        ["repair", "--force"],
    ],
)
def test_wrong_arguments_are_code_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: chatcluster" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["node", "worker", "repair"])
def test_a_wrong_setting_is_one_line_and_code_two(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHAT_PORT", "many")
    assert cli.main([command]) == 2
    assert capsys.readouterr().err == ("chatcluster: CHAT_PORT='many': a whole number, at least 0, at most 65,535\n")


def test_a_node_without_an_identity_provider_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CHAT_JWKS_URL", raising=False)
    monkeypatch.delenv("CHAT_LOCAL_MODE", raising=False)
    assert cli.main(["node"]) == 2
    assert capsys.readouterr().err.startswith("chatcluster: CHAT_JWKS_URL=: needed to verify tokens")


def test_a_wrong_setting_stops_up_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    monkeypatch.setenv("CHAT_RETENTION_HOURS", "for ever")
    assert cli.main(["up", "--data", f"{tmp_path}/data"]) == 2
    assert "CHAT_RETENTION_HOURS='for ever'" in capsys.readouterr().err
