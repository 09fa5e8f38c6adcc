"""Without a network one reads what was read, and what one writes waits, also over a reload; nothing stale is kept."""

from playwright.async_api import expect

from chatnode.local.cluster import LocalCluster
from tests.browser.cable import Cable
from tests.browser.centre import Centre
from tests.browser.kept import LIST, becomes_true, keeps, keeps_list, keeps_page
from tests.browser.people import Crowd


async def test_without_a_network_one_reads_and_writes_also_after_a_reload(
    crowd: Crowd, centre: Centre, cable: Cable
) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room)
    await claire.say("À relire plus tard")
    amina = await crowd.join("amina", room, cable.url)
    await amina.sees("À relire plus tard")
    await keeps(amina.page, present="À relire plus tard")
    await keeps(amina.page, present='"claire":"Claire Fontaine"')
    await keeps_page(amina.page)
    cable.pull()
    await amina.page.context.set_offline(True)
    await expect(amina.banner).to_have_attribute("data-banner", "offline")
    await amina.say("Écrit sans réseau")
    await amina.sees("Écrit sans réseau", "pending")
    await amina.page.reload()
    await amina.sees("À relire plus tard")
    await expect(amina.line("À relire plus tard")).to_contain_text("Claire Fontaine")
    await amina.sees("Écrit sans réseau", "pending")
    await amina.say("Écrit après rechargement")
    await amina.say("Non, laissez")
    await amina.line("Non, laissez").get_by_role("button", name="Supprimer").click()
    await amina.picture("offline-reloaded")
    await claire.say("Entre-temps")
    await claire.sees("Entre-temps")
    cable.mend()
    await amina.page.context.set_offline(False)
    said = ["À relire plus tard", "Entre-temps", "Écrit sans réseau", "Écrit après rechargement"]
    for person in (amina, claire):
        await person.sees_in_order(*said)
    await expect(amina.banner).to_have_count(0)
    assert await centre.texts(room) == said


async def test_without_a_network_all_rooms_are_listed_and_those_never_read_say_so(
    crowd: Crowd, centre: Centre, cable: Cable
) -> None:
    read = await centre.course("claire", "amina", title="Lu")
    never = await centre.course("claire", "amina", title="Jamais lu")
    await centre.say(never, "claire", ["À lire en ligne"])
    amina = await crowd.join("amina", read, cable.url)
    await expect(amina.room(never)).to_contain_text("À lire en ligne")
    await expect(amina.room(never).locator(".unread")).to_have_attribute("data-unread", "1")
    await keeps(amina.page, present=read)
    await keeps_list(amina.page, never)
    await keeps_page(amina.page)
    cable.pull()
    await amina.page.context.set_offline(True)
    await amina.page.reload()
    await amina.is_offline()
    await expect(amina.room(never)).to_contain_text("Jamais lu")
    await expect(amina.room(never)).to_contain_text("Pas sur cet appareil")
    await expect(amina.room(never).locator(".unread")).to_have_attribute("data-unread", "1")
    await expect(amina.room(read)).not_to_contain_text("Pas sur cet appareil")
    await amina.room(never).click()
    await expect(amina.log).to_contain_text("Cette conversation n’est pas sur cet appareil")
    await expect(amina.log).to_have_attribute("aria-busy", "false")
    await amina.say("Une question quand même")
    await amina.sees("Une question quand même", "pending")
    await amina.picture("offline-never-read")
    cable.mend()
    await amina.page.context.set_offline(False)
    await amina.sees_in_order("À lire en ligne", "Une question quand même")
    await amina.sees("Une question quand même")
    await amina.page.get_by_role("button", name="Changer de personne").click()
    await expect(amina.page.get_by_role("heading", name="Qui êtes-vous ?")).to_be_visible()
    assert await amina.page.evaluate(LIST) is None


async def test_what_was_deleted_changed_left_or_signed_out_of_is_not_kept(crowd: Crowd, centre: Centre) -> None:
    room, other = await centre.course("claire", "amina"), await centre.course("claire", "amina")
    claire = await crowd.join("claire", room)
    amina = await crowd.join("amina", room)
    for text in ("Un secret", "Une coquile"):
        await claire.say(text)
        await amina.sees(text)
    await amina.enter(other)
    await keeps(amina.page, present="Un secret")
    await claire.act("Un secret", "Supprimer")
    await claire.page.locator("button.danger").click()
    await keeps(amina.page, present="Une coquile", absent="Un secret")
    await claire.act("Une coquile", "Modifier")
    await claire.say("Une coquille")
    await keeps(amina.page, present="Une coquille", absent="Une coquile")

    await centre.remove(room, "amina")
    await keeps(amina.page, present=other, absent=room)
    await amina.page.get_by_role("button", name="Changer de personne").click()
    await keeps(amina.page, present="[]", absent=other)


async def test_a_new_build_is_shown_at_once_and_the_old_one_is_kept_no_longer(
    crowd: Crowd, centre: Centre, cluster: LocalCluster
) -> None:
    await centre.course("claire", "amina")
    async with Cable.to(cluster.url) as cable:
        amina = await crowd.join("amina", url=cable.url)
        await keeps_page(amina.page)
        before = str((await amina.page.evaluate("caches.keys()"))[0]).removeprefix("chat-shell-")
        after = "0123456789abcdef"
        cable.replaces = {before.encode(): after.encode(), b'name="referrer"': b'name="newbuild"'}
        await amina.page.reload()
        await expect(amina.page.locator("meta[name=newbuild]")).to_have_count(1)

        async def replaced() -> bool:
            return bool(await amina.page.evaluate("caches.keys()") == [f"chat-shell-{after}"])

        await becomes_true(replaced, "the files of the new build are the only ones that are kept")
