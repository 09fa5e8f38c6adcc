"""The data folder: one run at a time, never somebody's documents."""

import stat
from pathlib import Path

import pytest

from chatnode.local.children import ServerError
from chatnode.local.data_folder import check_space, open_data_folder


def test_a_folder_is_made_with_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    with open_data_folder(tmp_path / "a" / "b") as folder:
        secret = folder.secret.read_text("ascii")
        assert len(secret) >= 32
        assert stat.S_IMODE(folder.secret.stat().st_mode) == 0o600
        assert folder.logs.is_dir()
    with open_data_folder(tmp_path / "a" / "b") as folder:
        assert folder.secret.read_text("ascii") == secret


def test_fresh_drops_what_was_there(tmp_path: Path) -> None:
    with open_data_folder(tmp_path) as folder:
        secret = folder.secret.read_text("ascii")
        (folder.nats / "jetstream").mkdir(parents=True)
        folder.demo_done.touch()
    with open_data_folder(tmp_path, fresh=True) as folder:
        assert not folder.nats.exists()
        assert not folder.demo_done.exists()
        assert folder.secret.read_text("ascii") != secret


def test_a_second_run_on_the_same_folder_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    with open_data_folder(tmp_path) as folder:
        folder.demo_done.touch()
        with (
            pytest.raises(ServerError, match=r"in use by another run \(process \d+\): .*--data"),
            open_data_folder(tmp_path, fresh=True),
        ):
            pass
        assert folder.demo_done.exists()
    with open_data_folder(tmp_path):
        pass


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path, fresh: bool) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", "utf-8")
    with (
        pytest.raises(ServerError, match=r"holds other things \(thesis.txt\)"),
        open_data_folder(tmp_path, fresh=fresh),
    ):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match="is not a folder"), open_data_folder(tmp_path / "file"):
        pass
    with pytest.raises(ServerError, match="cannot use the data folder"), open_data_folder(tmp_path / "file" / "below"):
        pass


def test_a_disk_that_is_almost_full_is_refused(tmp_path: Path) -> None:
    check_space(tmp_path, 2 * 1024**3)
    with pytest.raises(ServerError, match="only 100 MiB are free"):
        check_space(tmp_path, 100 * 1024**2)
    with (
        pytest.raises(ServerError, match="only 100 MiB are free"),
        open_data_folder(tmp_path, free=lambda _: 100 * 1024**2),
    ):
        pass


def test_servers_that_run_go_on_for_longer_than_they_would_start(tmp_path: Path) -> None:
    check_space(tmp_path, 200 * 1024**2, running=True)
    with pytest.raises(ServerError, match="only 100 MiB are free"):
        check_space(tmp_path, 100 * 1024**2, running=True)
