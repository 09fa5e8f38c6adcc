"""Browsers that keep nothing, or have no room for more: one talks as ever, and what waits is said once."""

import json
from pathlib import Path

from playwright.async_api import Browser, expect

from chatnode.local.cluster import LocalCluster
from tests.browser.cable import Cable
from tests.browser.centre import Centre
from tests.browser.conftest import CHROMIUM, OPTIONS
from tests.browser.kept import keeps
from tests.browser.people import Crowd, Person

FILL = """() => {
  for (const storage of [sessionStorage, localStorage]) {
    for (let size = 2 ** 22; size >= 1; size = Math.floor(size / 2)) {
      try { for (let n = 0; ; n += 1) storage.setItem(`full.${size}.${n}`, "x".repeat(size)); } catch { /* is full */ }
    }
  }
}"""
DELETE_OUTBOX = """() => new Promise((resolve, reject) => {
  const deleting = indexedDB.deleteDatabase("chat-outbox");
  deleting.onsuccess = resolve;
  deleting.onerror = () => reject(deleting.error);
})"""
"""Every window has its database closed, and is refused from then on."""

NO_DATABASE = """Object.defineProperty(window, "indexedDB", {
  get() { throw new DOMException("no database here", "SecurityError"); },
});"""


async def test_with_all_storage_blocked_one_talks_as_ever(
    chromium: Browser, crowd: Crowd, centre: Centre, cluster: LocalCluster, tmp_path: Path
) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room)
    profile = tmp_path / "Default"
    profile.mkdir()
    blocked = {"profile": {"default_content_setting_values": {"cookies": 2}}}
    (profile / "Preferences").write_text(json.dumps(blocked))
    context = await chromium.browser_type.launch_persistent_context(
        tmp_path, executable_path=CHROMIUM, args=OPTIONS, locale="fr-FR"
    )
    try:
        page = await context.new_page()
        crowd.watch(page)
        amina = Person(page, cluster.url)
        await page.goto(cluster.url)
        await amina.sign_in("amina")
        await amina.enter(room)
        await amina.composer.fill("Un brouillon")
        for text in ("Un", "Deux", "Trois"):
            await amina.say(text)
        for person in (amina, claire):
            await person.sees_in_order("Un", "Deux", "Trois")
            await person.sees("Trois")
    finally:
        await context.close()


async def test_with_full_storage_one_talks_writes_drafts_and_comes_back(crowd: Crowd, centre: Centre) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.join("amina", room)
    await amina.page.evaluate(FILL)
    await amina.composer.fill("Un brouillon qui ne tient plus dans le stockage")
    await amina.say("Un")
    await amina.sees("Un")
    await amina.page.reload()
    await amina.is_connected()
    await amina.say("Deux")
    await amina.sees_in_order("Un", "Deux")
    await amina.sees("Deux")


async def test_without_a_database_what_waits_outlives_a_reload(crowd: Crowd, centre: Centre, cable: Cable) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.window(cable.url)
    await amina.page.add_init_script(NO_DATABASE)
    await amina.page.reload()
    await amina.sign_in("amina")
    await amina.enter(room)
    await says_without_network_and_reloads(amina, cable)
    # The room is known by the list of rooms, which needs no database.
    for text in ("Un", "Deux"):
        await amina.sees(text, "pending")
    cable.mend()
    await amina.sees_in_order("Un", "Deux")
    await amina.sees("Deux")
    assert await centre.texts(room) == ["Un", "Deux"]


async def test_what_the_database_refuses_outlives_a_reload_where_it_is_taken(
    crowd: Crowd, centre: Centre, cable: Cable
) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.join("amina", room, cable.url)
    await keeps(amina.page, present=room)
    other = await crowd.beside(amina)
    await other.page.evaluate(DELETE_OUTBOX)
    await says_without_network_and_reloads(amina, cable)
    for text in ("Un", "Deux"):
        await amina.sees(text, "pending")
    cable.mend()
    await amina.sees_in_order("Un", "Deux")
    await amina.sees("Deux")
    assert await centre.texts(room) == ["Un", "Deux"]


async def says_without_network_and_reloads(person: Person, cable: Cable) -> None:
    cable.cut()
    await person.is_offline()
    for text in ("Un", "Non, laissez", "Deux"):
        await person.say(text)
        await expect(person.line(text).locator(".mark")).to_contain_text("En attente de connexion")
    await person.line("Non, laissez").get_by_role("button", name="Supprimer").click()
    await expect(person.line("Non, laissez")).to_have_count(0)
    await person.page.reload()
    await person.is_offline()
