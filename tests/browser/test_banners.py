"""What the banner says, on a phone and on a desktop; pictures go to ``build/screenshots``."""

import pytest
from playwright.async_api import expect

from chatnode.local.cluster import LocalCluster
from tests.browser.cable import CHAT, Cable, Way
from tests.browser.centre import Centre
from tests.browser.people import Crowd, Person

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


async def shows(person: Person, banner: str, text: str, picture: str) -> None:
    await expect(person.banner).to_have_attribute("data-banner", banner)
    await expect(person.banner.get_by_role("status")).to_contain_text(text)
    assert await person.overflow() <= 0
    await person.picture(picture)


@pytest.mark.parametrize(("name", "options"), [("desktop", {}), ("phone", PHONE)])
async def test_the_banner_says_what_is_the_matter_and_is_gone_when_nothing_is(
    crowd: Crowd, centre: Centre, cable: Cable, name: str, options: dict[str, object]
) -> None:
    room = await centre.course("claire", "amina")
    await centre.say(room, "claire", ["Bonjour à toutes et à tous", "On commence à neuf heures."])
    amina = await crowd.join("amina", room, cable.url, **options)
    await expect(amina.banner).to_have_count(0)
    cable.block(*CHAT)
    await amina.say("Je serai là")
    await shows(amina, "waiting", "Connexion perdue.", f"banner-waiting-{name}")
    await amina.page.context.set_offline(True)
    await shows(amina, "offline", "Pas de réseau.", f"banner-offline-{name}")
    cable.mend()
    cable.block(Way.SOCKET)
    await amina.page.context.set_offline(False)
    await shows(amina, "slow", "Connecté par une voie plus lente.", f"banner-slow-{name}")
    await amina.sees("Je serai là")
    await amina.banner.get_by_role("button", name="Compris").click()
    await expect(amina.banner).to_have_count(0)
    cable.mend()
    await amina.hears_of_a_network()
    await amina.is_on("websocket")
    await expect(amina.banner).to_have_count(0)


DELAYED = '{"type": "event", "kind": "delayed", "on": %s}'


async def test_a_delayed_node_is_told_in_the_person_s_language(crowd: Crowd, centre: Centre) -> None:
    """The word comes from between node and page here: a node is delayed where NATS is gone, which others share."""
    room = await centre.course("claire", "amina")
    person = await crowd.window()
    socket = await crowd.spied(person)
    await person.page.get_by_role("button", name="English").click()
    await person.sign_in("amina")
    await person.enter(room)
    socket.say(DELAYED % "true")
    await shows(person, "delayed", "Messages are delayed.", "banner-delayed")
    socket.say(DELAYED % "false")
    await expect(person.banner).to_have_count(0)


async def test_without_mongodb_a_conversation_says_that_older_messages_are_missing_until_they_are_there(
    crowd: Crowd, centre: Centre, cluster: LocalCluster
) -> None:
    room, other = await centre.course("claire", "amina"), await centre.course("amina")
    await centre.say(room, "claire", [f"Étape {number}" for number in range(1, 31)])
    claire = await crowd.join_on("node-1", "claire", room)
    amina = await crowd.join_on("node-1", "amina", other)
    cluster.servers["mongod"].pause()
    try:
        await amina.room(room).click()
        await expect(amina.banner).to_have_attribute("data-banner", "partial", timeout=20_000)
        await shows(amina, "partial", "Des messages anciens manquent pour l’instant.", "banner-partial")
        await amina.sees("Étape 30")
        await claire.say("Je continue à écrire")
        await amina.sees("Je continue à écrire")
    finally:
        cluster.servers["mongod"].resume()
    await expect(amina.banner).to_have_count(0, timeout=20_000)
