"""Admission: bounded inside, bounded in line, fair, and free again whatever happens inside."""

import asyncio

import pytest

from chatnode.rooms.gate import Gate
from chatnode.rooms.ports import Unavailable


async def test_no_more_than_allowed_are_inside_and_they_enter_in_the_order_in_which_they_came() -> None:
    gate = Gate("joining", at_once=2, waiting_max=100)
    inside, most, order = 0, 0, []

    async def visit(number: int) -> None:
        nonlocal inside, most
        async with gate.entered():
            inside += 1
            most = max(most, inside)
            order.append(number)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(visit(number) for number in range(20)))
    assert most == 2
    assert order == list(range(20))


async def test_who_finds_too_many_in_line_is_told_at_once() -> None:
    gate = Gate("joining", at_once=1, waiting_max=2)
    leave = asyncio.Event()

    async def stay() -> None:
        async with gate.entered():
            await leave.wait()

    visits = [asyncio.create_task(stay()) for _ in range(3)]
    await asyncio.sleep(0)
    assert gate.waiting == 2
    with pytest.raises(Unavailable, match="joining"):
        async with gate.entered():
            pass
    leave.set()
    await asyncio.gather(*visits)


async def test_an_error_or_a_cancellation_frees_the_place() -> None:
    gate = Gate("joining", at_once=1, waiting_max=5)
    with pytest.raises(ZeroDivisionError):
        async with gate.entered():
            raise ZeroDivisionError
    blocker = asyncio.Event()

    async def stay() -> None:
        async with gate.entered():
            await blocker.wait()

    holding, waiting = asyncio.create_task(stay()), asyncio.create_task(stay())
    await asyncio.sleep(0)
    waiting.cancel()
    holding.cancel()
    await asyncio.gather(holding, waiting, return_exceptions=True)
    assert gate.waiting == 0
    async with asyncio.timeout(1), gate.entered():
        pass


async def test_clients_take_turns_and_each_ones_own_order_is_kept() -> None:
    gate = Gate("joining", at_once=1, waiting_max=100)
    entered: list[str] = []

    async def visit(client: str, number: int) -> None:
        async with gate.entered(client):
            entered.append(f"{client}{number}")
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for client, count in (("greedy", 6), ("b", 1), ("c", 2)):
            for number in range(count):
                group.create_task(visit(client, number))
    greedy = [name for name in entered if name.startswith("greedy")]
    assert greedy == [f"greedy{number}" for number in range(6)]
    assert entered.index("b0") <= 2
    assert entered.index("c0") <= 3
    assert entered.index("c1") <= 5


@pytest.mark.parametrize("granted", [False, True])
async def test_who_gives_up_in_line_leaves_no_hole(granted: bool) -> None:
    gate = Gate("joining", at_once=1, waiting_max=100)
    inside, leave = asyncio.Event(), asyncio.Event()

    async def stay() -> None:
        async with gate.entered("a"):
            inside.set()
            await leave.wait()

    async def visit(client: str) -> str:
        async with gate.entered(client):
            return client

    first = asyncio.create_task(stay())
    await inside.wait()
    second, third = asyncio.create_task(visit("b")), asyncio.create_task(visit("c"))
    while gate.waiting < 2:
        await asyncio.sleep(0)
    if granted:
        leave.set()
        await first
    second.cancel()
    leave.set()
    assert await third == "c"
    assert second.cancelled() or await second == "b"
    await first
    assert gate.waiting == 0
    async with asyncio.timeout(1), gate.entered("d"):
        pass
