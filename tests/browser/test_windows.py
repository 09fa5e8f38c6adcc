"""Several windows of one person share one outbox: one sends, all show how it stands."""

from playwright.async_api import Page, expect

from tests.browser.cable import Cable
from tests.browser.centre import Centre
from tests.browser.kept import HOLD_OUTBOX
from tests.browser.people import Crowd, Person


async def beside(crowd: Crowd, person: Person, user: str, room: str) -> Person:
    """Another window of the same browser, signed in as the same person."""
    other = await crowd.beside(person)
    await other.sign_in(user)
    await other.enter(room)
    return other


async def leads(page: Page) -> bool:
    """Whether this window is the one that sends: its lock is held by this client."""
    return bool(
        await page.evaluate(
            """async () => {
                const mine = await new Promise((resolve) => {
                  navigator.locks.request("whoami", async () => {
                    const { held } = await navigator.locks.query();
                    resolve(held.find((lock) => lock.name === "whoami").clientId);
                  });
                });
                const { held } = await navigator.locks.query();
                return held.some((lock) => lock.name.startsWith("chat.outbox") && lock.clientId === mine);
            }"""
        )
    )


async def test_whichever_window_one_writes_in_all_show_it_and_it_is_said_once(crowd: Crowd, centre: Centre) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room)
    first = await crowd.join("amina", room)
    second = await beside(crowd, first, "amina", room)
    assert [await leads(first.page), await leads(second.page)] == [True, False]
    for number, window in enumerate((second, first, second, first), 1):
        await window.say(f"Message {number}")
        for person in (first, second, claire):
            await person.sees(f"Message {number}")
    assert await centre.texts(room) == [f"Message {number}" for number in range(1, 5)]


async def test_the_window_that_sends_is_closed_with_messages_unsent_and_the_other_sends_them(
    crowd: Crowd, centre: Centre, cable: Cable
) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room)
    first = await crowd.join("amina", room, cable.url)
    second = await beside(crowd, first, "amina", room)
    cable.cut()
    said = [f"{word}, sans réseau" for word in ("Un", "Deux", "Trois", "Quatre")]
    for text, window in zip(said, (first, second, first, second), strict=True):
        await window.say(text)
        for person in (first, second):
            await person.sees(text, "pending")
    await second.line("Trois").get_by_role("button", name="Supprimer").click()
    await expect(first.line("Trois")).to_have_count(0)
    await first.picture("two-windows")
    await first.page.close()
    cable.mend()
    await second.hears_of_a_network()
    del said[2]
    for person in (second, claire):
        await person.sees_in_order(*said)
    assert await leads(second.page)
    assert await centre.texts(room) == said


async def test_the_window_that_sends_is_closed_in_the_midst_of_sending(crowd: Crowd, centre: Centre) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room)
    first = await crowd.join("amina", room)
    second = await beside(crowd, first, "amina", room)
    said = [f"Suite {number:02d}" for number in range(30)]
    for text in said:
        await second.say(text)
        if text == said[20]:
            await first.page.close(run_before_unload=False)
    for person in (second, claire):
        await person.sees_in_order(*said)
    assert await centre.texts(room) == said


async def test_what_was_refused_is_refused_in_every_window_and_can_be_tried_again_from_each(
    crowd: Crowd, centre: Centre, cable: Cable
) -> None:
    room = await centre.course("claire", "amina")
    first = await crowd.join("amina", room, cable.url)
    second = await beside(crowd, first, "amina", room)
    cable.cut()
    await second.say("Trop tard")
    await centre.close(room)
    cable.mend()
    for window in (first, second):
        await window.hears_of_a_network()
        await window.sees("Trop tard", "failed")
    await centre.close(room, closed=False)
    await expect(second.composer).to_be_visible()
    await second.line("Trop tard").get_by_role("button", name="Réessayer").click()
    for window in (first, second):
        await window.sees("Trop tard")
    assert await centre.texts(room) == ["Trop tard"]


async def test_what_a_window_had_not_kept_when_it_was_loaded_again_is_sent_by_the_one_that_leads(
    crowd: Crowd, centre: Centre
) -> None:
    room = await centre.course("claire", "amina")
    first = await crowd.join("amina", room)
    second = await beside(crowd, first, "amina", room)
    other = await crowd.beside(first)
    await other.page.evaluate(HOLD_OUTBOX)
    await second.say("Un")
    await second.say("Deux")
    await second.sees("Deux", "pending")
    await second.page.reload()
    await other.page.evaluate("letGo()")
    for window in (first, second):
        await window.sees_in_order("Un", "Deux")
        await window.sees("Deux")
    assert await leads(first.page)
    assert await centre.texts(room) == ["Un", "Deux"]
