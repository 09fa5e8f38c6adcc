"""An outbox file: what was put there is sent once, whichever process does it, and whatever became of the one before."""

import asyncio
import sys
from pathlib import Path
from typing import Self

import pytest

from chatclient import Client, Ended, Refused, Timing, Unanswered, Unsent, Withdrawn, new_id, sending
from chatnode.local.cluster import LocalCluster
from tests.integration.blocking_proxy import BlockingProxy
from tests.integration.lines import TRANSPORTS
from tests.integration.promises import Talk, shortened_window

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMING = Timing(reply_s=2.0, ping_s=2.0)


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def client(talk: Talk, url: str, outbox: Path, **options: object) -> Client:
    token = talk.cluster.token("ana")
    return Client(url, token, outbox=outbox, **{"timing": TIMING, **options})  # type: ignore[arg-type]


async def texts(talk: Talk) -> list[str]:
    async with talk.client("tom", 1, name=new_id()) as tom:
        return [message.text for message in await talk.sent_history(tom)]


class Process:
    """A client of ana in a process of its own."""

    def __init__(self, talk: Talk, url: str, outbox: Path) -> None:
        arguments = [url, talk.cluster.token("ana"), str(outbox), talk.room]
        self._command = [sys.executable, "-m", "tests.integration.outbox_process", *arguments]

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._child = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
        await self.until("connected")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._child.returncode is None:
            self._child.kill()
        await self._child.communicate()

    def say(self, *lines: str) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write("".join(f"{line}\n" for line in lines).encode())

    async def until(self, *wanted: str, within: float = 20.0) -> None:
        """Read on until all of these were told."""
        assert self._child.stdout is not None
        missing = set(wanted)
        async with asyncio.timeout(within):
            while missing:
                line = await self._child.stdout.readline()
                assert line, f"ended, and did not tell {missing}"
                missing.discard(line.decode().strip())

    async def kill(self) -> None:
        self._child.kill()
        await self._child.wait()


async def test_what_a_killed_client_had_not_sent_is_sent_once_after_its_restart(
    talk: Talk, proxy: BlockingProxy, outbox: Path
) -> None:
    said = [f"{number}" for number in range(30)]
    async with Process(talk, proxy.socket_url, outbox) as process:
        process.say("before")
        await process.until("acked before")
        # The first of them reach the node, whose answers are lost.
        proxy.held.clear()
        process.say(*said)
        await process.until(f"holds {', '.join(said)}")
        await process.kill()
    proxy.held.set()
    async with Process(talk, proxy.socket_url, outbox) as process:
        await process.until(f"holds {', '.join(said)}", "holds")
        process.say("after")
        await process.until("acked after")
    assert await texts(talk) == ["before", *said, "after"]


async def test_what_the_node_had_stored_already_is_once_also_when_the_restart_comes_late(
    talk: Talk, proxy: BlockingProxy, outbox: Path
) -> None:
    async with shortened_window(talk) as window, Process(talk, proxy.socket_url, outbox) as process:
        proxy.held.clear()
        process.say("stored, and not told")
        await process.until("holds stored, and not told")
        async with asyncio.timeout(10.0):
            while await texts(talk) != ["stored, and not told"]:
                await asyncio.sleep(0.05)
        await process.kill()
        await asyncio.sleep(5 * window)
        proxy.held.set()
        async with Process(talk, proxy.socket_url, outbox) as later:
            await later.until("holds stored, and not told", "holds")
    assert await texts(talk) == ["stored, and not told"]


async def test_two_processes_share_one_outbox_and_the_second_takes_over(
    talk: Talk, cluster: LocalCluster, proxy: BlockingProxy, outbox: Path
) -> None:
    async with Process(talk, proxy.socket_url, outbox) as leader:
        leader.say("of the leader")
        await leader.until("acked of the leader")
        async with Process(talk, talk.urls(1)[0], outbox) as other:
            other.say("of the other")
            await other.until("acked of the other")
            proxy.held.clear()
            leader.say("left behind")
            await leader.until("holds left behind")
            other.say("behind it")
            await other.until("holds left behind, behind it")
            await leader.kill()
            await other.until("acked behind it")
    assert await texts(talk) == ["of the leader", "of the other", "left behind", "behind it"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_outbox_is_emptied_over_every_transport(talk: Talk, outbox: Path, transport: str) -> None:
    url = talk.urls(0)[0]
    async with client(talk, url, outbox, transports=[transport]) as ana:
        acks = await asyncio.gather(*(ana.send(talk.room, f"{number}") for number in range(40)))
        assert [ack.position for ack in acks] == sorted(ack.position for ack in acks)
        async with asyncio.timeout(5.0):
            while ana.unsent():
                await asyncio.sleep(0.02)
    assert await texts(talk) == [f"{number}" for number in range(40)]


async def test_what_is_refused_waits_for_its_owner_who_retries_or_deletes_it(
    talk: Talk, cluster: LocalCluster, outbox: Path
) -> None:
    async with client(talk, talk.urls(0)[0], outbox) as ana:
        first = await ana.send(talk.room, "mine")
        with pytest.raises(Refused):
            await ana.send("nowhere", "to nobody")
        with pytest.raises(Refused):
            await ana.edit("nowhere", first.position, "of nothing")
        await ana.send(talk.room, "goes on")
        message, edit = await unsent(ana, 2)
        assert message.denied is not None
        assert message.denied.code in {"forbidden", "not_found"}
        await ana.discard(edit.command.id)
        await ana.retry(message.command.id)
        async with asyncio.timeout(5.0):
            while (await unsent(ana, 1))[0].since != message.since or ana.unsent()[0].denied is None:
                await asyncio.sleep(0.02)
    async with client(talk, talk.urls(1)[0], outbox) as ana:
        [still] = ana.unsent()
        assert still.command.id == message.command.id
        await ana.discard(still.command.id)
        await unsent(ana, 0)
    assert await texts(talk) == ["mine", "goes on"]


async def test_a_file_that_is_written_anew_in_use_loses_nothing_and_sends_nothing_twice(
    talk: Talk, outbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "ENTRIES_MIN", 20)
    async with client(talk, talk.urls(0)[0], outbox) as ana, client(talk, talk.urls(1)[0], outbox) as other:
        with pytest.raises(Refused):
            await ana.send("nowhere", "to nobody")
        for number in range(10):
            await asyncio.gather(*(each.send(talk.room, f"{number}") for each in (ana, other, ana)))
        inode = (await asyncio.to_thread(outbox.stat)).st_ino
        for number in range(10, 20):
            await asyncio.gather(*(each.send(talk.room, f"{number}") for each in (ana, other, ana)))
        assert (await asyncio.to_thread(outbox.stat)).st_ino != inode
        [refused] = await unsent(ana, 1)
        assert refused.denied is not None
        assert [each.command.id for each in await unsent(other, 1)] == [refused.command.id]
    assert await texts(talk) == [f"{number}" for number in range(20) for _ in range(3)]


async def unsent(ana: Client, count: int) -> list[Unsent]:
    async with asyncio.timeout(20.0):
        while len(ana.unsent()) != count:
            await asyncio.sleep(0.02)
    return ana.unsent()


async def test_what_is_deleted_before_it_was_sent_is_never_sent(talk: Talk, proxy: BlockingProxy, outbox: Path) -> None:
    async with client(talk, proxy.socket_url, outbox, timeout=1.0) as ana:
        proxy.block("/v1/ws", "/v1/events", "/v1/poll", "/v1/commands")
        async with asyncio.timeout(5.0):
            while ana.connected:
                await asyncio.sleep(0.01)
        with pytest.raises(Unanswered):
            await ana.send(talk.room, "not answered in time, and sent later")
        command = new_id()
        answer = asyncio.create_task(ana.send(talk.room, "deleted", command=command))
        await unsent(ana, 2)
        await ana.discard(command)
        with pytest.raises(Withdrawn):
            await answer
        proxy.block()
        await unsent(ana, 0)
    assert await texts(talk) == ["not answered in time, and sent later"]


async def test_an_outbox_of_somebody_else_ends_the_client_and_stays(talk: Talk, outbox: Path) -> None:
    async with client(talk, talk.urls(0)[0], outbox) as ana:
        await ana.send(talk.room, "hers")
    before = await asyncio.to_thread(outbox.read_bytes)
    async with Client(talk.urls(0)[0], talk.cluster.token("bob"), outbox=outbox) as bob:
        with pytest.raises(Ended, match="belongs to ana"):
            await anext(bob.events())
    assert await asyncio.to_thread(outbox.read_bytes) == before


async def test_a_closed_client_leaves_what_is_unsent_to_the_next(
    talk: Talk, proxy: BlockingProxy, outbox: Path
) -> None:
    async with client(talk, proxy.socket_url, outbox) as ana:
        proxy.held.clear()
        answer = asyncio.create_task(ana.send(talk.room, "later"))
        await unsent(ana, 1)
    with pytest.raises(Ended):
        await answer
    proxy.held.set()
    async with client(talk, proxy.socket_url, outbox) as ana:
        await unsent(ana, 0)
    assert await texts(talk) == ["later"]
