"""Lost nodes, lost connections, reloads, refusals: nothing that was said is lost or said twice."""

import re

from playwright.async_api import expect

from chatnode.local.cluster import LocalCluster
from tests.browser.cable import Cable
from tests.browser.centre import Centre
from tests.browser.kept import AS_IF_NOT_KEPT, HOLD_OUTBOX, keeps
from tests.browser.people import Crowd


async def test_a_node_is_killed_in_mid_conversation_and_both_go_on(
    crowd: Crowd, centre: Centre, cluster: LocalCluster
) -> None:
    crowd.forgives_lost_connections = True
    room = await centre.course("claire", "amina")
    claire = await crowd.join_on("node-1", "claire", room)
    amina = await crowd.join_on("node-2", "amina", room)
    await claire.say("Avant la panne")
    await amina.sees("Avant la panne")
    await cluster.kill_node(0)
    try:
        await claire.say("Pendant la panne, 1")
        await amina.say("Pendant la panne, 2")
        await claire.say("Pendant la panne, 3")
        for number in (1, 2, 3):
            await claire.sees(f"Pendant la panne, {number}")
            await amina.sees(f"Pendant la panne, {number}")
        assert await claire.node() == "node-2"
        await amina.say("On continue ?")
        await claire.sees("On continue ?")
        await claire.say("On continue.")
        await amina.sees("On continue.")
        said = await centre.texts(room)
        shown = [await person.page.locator("article.message .text").all_inner_texts() for person in (claire, amina)]
        assert shown == [said, said]
        assert said.index("Pendant la panne, 1") < said.index("Pendant la panne, 3")
    finally:
        await cluster.start_node(0)


async def test_a_node_that_is_stopped_in_order_is_left_without_anybody_noticing(
    crowd: Crowd, centre: Centre, cluster: LocalCluster
) -> None:
    crowd.forgives_lost_connections = True
    room = await centre.course("claire", "amina")
    claire = await crowd.join_on("node-1", "claire", room)
    amina = await crowd.join_on("node-2", "amina", room)
    await claire.page.evaluate(
        "new MutationObserver(() => { window.banner ||= document.querySelector('.banner') !== null; })"
        ".observe(document.body, {childList: true, subtree: true})"
    )
    await amina.say("Avant")
    await claire.sees("Avant")
    await cluster.node(0).stop()
    try:
        await expect(claire.connection).to_have_attribute("data-node", "node-2")
        await claire.is_connected()
        await claire.say("Après")
        await amina.sees("Après")
        assert not await claire.page.evaluate("window.banner ?? false")
    finally:
        await cluster.start_node(0)


async def test_a_reload_keeps_the_person_the_room_and_the_conversation(crowd: Crowd, centre: Centre) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.join("amina", room)
    await amina.say("À retrouver après rechargement")
    await amina.sees("À retrouver")
    await amina.composer.fill("Un brouillon")
    await amina.page.reload()
    await amina.sees("À retrouver")
    await expect(amina.composer).to_have_value("Un brouillon")
    await expect(amina.page.locator(".rail-head .name")).to_have_text("Amina Diallo")


async def test_two_windows_of_one_browser_are_two_people(crowd: Crowd, centre: Centre) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.join("amina", room)
    other = await amina.page.context.new_page()
    await other.goto(amina.url)
    await other.locator("[data-user=claire]").click()
    await other.locator(f"[data-room={room}]").click()
    await other.get_by_role("textbox").fill("Bonjour depuis l’autre fenêtre")
    await other.get_by_role("textbox").press("Enter")
    await amina.sees("depuis l’autre fenêtre")
    await expect(amina.line("depuis l’autre fenêtre")).to_contain_text("Claire Fontaine")


async def test_without_connection_messages_wait_and_leave_when_it_is_back(
    crowd: Crowd, centre: Centre, cable: Cable
) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room)
    amina = await crowd.join("amina", room, cable.url)
    cable.cut()
    await amina.is_offline()
    await expect(amina.banner).to_contain_text(re.compile(r"nouvel essai dans \d+ s"))
    await amina.say("Un")
    await amina.say("Deux")
    await amina.say("Trois, non")
    await amina.sees("Un", "pending")
    await expect(amina.line("Un").locator(".mark")).to_contain_text("En attente de connexion")
    await amina.line("Trois, non").get_by_role("button", name="Supprimer").click()
    await claire.say("Entre-temps")
    await amina.picture("offline")
    await amina.banner.get_by_role("button", name="Réessayer maintenant").click()
    cable.mend()
    await amina.is_connected()
    for person in (claire, amina):
        await person.sees_in_order("Entre-temps", "Un", "Deux")
    assert await centre.texts(room) == ["Entre-temps", "Un", "Deux"]


async def test_an_unsent_message_survives_a_reload(crowd: Crowd, centre: Centre, cable: Cable) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.join("amina", room, cable.url)
    cable.cut()
    await amina.is_offline()
    await amina.say("Écrit sans réseau")
    await amina.sees("Écrit sans réseau", "pending")
    await amina.page.reload()
    await amina.is_offline()
    cable.mend()
    await amina.sees("Écrit sans réseau")
    await expect(amina.readers).to_have_text("Envoyé")
    await amina.page.reload()
    await amina.sees("Écrit sans réseau")
    assert await centre.texts(room) == ["Écrit sans réseau"]


async def test_a_reload_loses_nothing_that_still_waits_to_be_kept(crowd: Crowd, centre: Centre, cable: Cable) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.join("amina", room, cable.url)
    other = await crowd.beside(amina)
    await keeps(amina.page, present=room)
    cable.cut()
    await amina.is_offline()
    await other.page.evaluate(HOLD_OUTBOX)
    await amina.say("Un")
    await amina.say("Deux")
    await amina.say("Non, laissez")
    await amina.say("Non plus")
    await expect(amina.line("Deux").locator(".mark")).to_contain_text("Enregistrement sur cet appareil")
    await amina.line("Non, laissez").get_by_role("button", name="Supprimer").click()
    await amina.page.reload()
    await other.page.evaluate("letGo()")
    await expect(amina.line("Deux").locator(".mark")).to_contain_text("En attente de connexion")
    await amina.line("Non plus").get_by_role("button", name="Supprimer").click()
    await expect(amina.page.get_by_text("Message annulé : il n’a pas été envoyé.")).to_be_visible()
    cable.mend()
    await amina.sees_in_order("Un", "Deux")
    await amina.sees("Deux")
    assert await centre.texts(room) == ["Un", "Deux"]


async def test_what_was_kept_just_before_a_reload_is_there_once(crowd: Crowd, centre: Centre, cable: Cable) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.join("amina", room, cable.url)
    await keeps(amina.page, present=room)
    cable.cut()
    await amina.is_offline()
    await amina.say("Une fois")
    await expect(amina.line("Une fois").locator(".mark")).to_contain_text("En attente de connexion")
    await amina.page.evaluate(AS_IF_NOT_KEPT)
    await amina.page.reload()
    await amina.sees("Une fois", "pending")
    cable.mend()
    await amina.sees("Une fois")
    assert await centre.texts(room) == ["Une fois"]


async def test_what_is_thrown_away_just_before_a_reload_stays_away(crowd: Crowd, centre: Centre, cable: Cable) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.join("amina", room, cable.url)
    other = await crowd.beside(amina)
    await keeps(amina.page, present=room)
    cable.cut()
    await amina.is_offline()
    await amina.say("Non, laissez")
    await amina.say("Un")
    await expect(amina.line("Un").locator(".mark")).to_contain_text("En attente de connexion")
    await other.page.evaluate(HOLD_OUTBOX)
    await amina.line("Non, laissez").get_by_role("button", name="Supprimer").click()
    await expect(amina.line("Non, laissez")).to_have_count(0)
    await amina.page.reload()
    await other.page.evaluate("letGo()")
    await amina.sees("Un", "pending")
    cable.mend()
    await amina.sees("Un")
    await amina.sees_in_order("Un")
    assert await centre.texts(room) == ["Un"]


async def test_a_refused_message_says_why_and_can_be_tried_again_or_thrown_away(
    crowd: Crowd, centre: Centre, cable: Cable
) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room)
    amina = await crowd.join("amina", room, cable.url)
    cable.cut()
    await amina.is_offline()
    await amina.say("À garder")
    await amina.say("À jeter")
    await centre.close(room)
    cable.mend()
    await amina.sees("À garder", "failed")
    await amina.sees("À jeter", "failed")
    await expect(amina.line("À garder").locator(".mark")).to_contain_text(
        "Message non envoyé : la conversation est fermée."
    )
    await expect(amina.page.get_by_text("Cette conversation est fermée : lecture seule.")).to_be_visible()
    await amina.picture("failed")
    await amina.page.reload()
    await amina.sees("À garder", "failed")
    await amina.line("À jeter").get_by_role("button", name="Supprimer").click()
    await expect(amina.line("À jeter")).to_have_count(0)
    await centre.close(room, closed=False)
    await expect(amina.composer).to_be_visible()
    await amina.line("À garder").get_by_role("button", name="Réessayer").click()
    await amina.sees("À garder")
    await claire.sees("À garder")
    assert await centre.texts(room) == ["À garder"]


async def test_events_missed_while_away_are_there_after_the_return(crowd: Crowd, centre: Centre, cable: Cable) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room)
    amina = await crowd.join("amina", room, cable.url)
    await claire.say("Premier jet")
    await amina.sees("Premier jet")
    cable.cut()
    await amina.is_offline()
    await claire.composer.press("ArrowUp")
    await expect(claire.composer).to_have_value("Premier jet")
    await claire.say("Seconde version")
    await claire.sees("Seconde version")
    await claire.say("Et la suite")
    await claire.sees("Et la suite")
    cable.mend()
    await amina.sees("Seconde version")
    await amina.sees("Et la suite")
    await expect(amina.line("Premier jet")).to_have_count(0)
