"""Two people talk, each in a browser on another node."""

import re

from playwright.async_api import expect

from chatnode.local.cluster import LocalCluster
from tests.browser.centre import Centre
from tests.browser.people import Crowd


async def test_two_people_on_two_nodes_talk(crowd: Crowd, centre: Centre, cluster: LocalCluster) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room, cluster.node_urls[0])
    amina = await crowd.join("amina", room, cluster.node_urls[1])
    assert (await claire.node(), await amina.node()) == ("node-1", "node-2")

    await amina.say("Bonjour, à quelle heure commence l’atelier ?")
    await claire.sees("à quelle heure")
    await claire.say("À 14 h, salle B12.")
    await claire.say("Apportez votre ordinateur.")
    for person in (claire, amina):
        await person.sees_in_order("à quelle heure", "À 14 h", "Apportez votre ordinateur")


async def test_one_sees_that_the_other_is_there_types_and_has_read(
    crowd: Crowd, centre: Centre, cluster: LocalCluster
) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room, cluster.node_urls[0])
    amina = await crowd.join("amina", room, cluster.node_urls[1])
    await expect(claire.page.locator(".heading .muted")).to_have_text("2 en ligne")

    await amina.composer.press_sequentially("Je")
    await expect(claire.typing).to_have_text("Amina Diallo écrit…")
    await amina.say("Je suis prête.")
    await claire.sees("Je suis prête.")
    await expect(claire.typing).to_have_text("")
    await expect(amina.readers).to_have_text("Lu par 1")

    await amina.page.context.close()
    await expect(claire.page.locator(".heading .muted")).to_have_text("1 en ligne")


async def test_what_is_not_read_is_counted_until_the_room_is_opened(
    crowd: Crowd, centre: Centre, cluster: LocalCluster
) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room, cluster.node_urls[0])
    amina = await crowd.join("amina", None, cluster.node_urls[1])
    await claire.say("Un")
    await claire.say("Deux")
    await expect(amina.room(room).locator(".unread")).to_contain_text("2 non lus")
    await expect(amina.room(room).locator(".preview")).to_have_text("Claire : Deux")
    await expect(claire.readers).to_have_text("Envoyé")

    await amina.enter(room)
    await expect(amina.page.get_by_text("Nouveaux messages")).to_be_visible()
    await expect(amina.room(room).locator(".unread")).to_have_count(0)
    await expect(claire.readers).to_have_text("Lu par 1")

    # The count is kept by the cluster, not by the window.
    again = await crowd.join("amina", None, cluster.node_urls[0])
    await expect(again.room(room)).to_be_visible()
    await expect(again.room(room).locator(".unread")).to_have_count(0)


async def test_messages_are_changed_taken_back_answered_and_reacted_to(
    crowd: Crowd, centre: Centre, cluster: LocalCluster
) -> None:
    room = await centre.course("claire", "amina", "hugo")
    claire = await crowd.join("claire", room, cluster.node_urls[0])
    amina = await crowd.join("amina", room, cluster.node_urls[1])
    await amina.say("Comment trier une liste ?")
    await amina.say("Et un dictionaire ?")
    await claire.sees("Et un dictionaire ?")

    await claire.act("trier une liste", "Répondre")
    await claire.say("Avec `sorted(liste)`.")
    await expect(amina.line("sorted(liste)").locator(".quote")).to_contain_text("Comment trier une liste ?")
    await expect(amina.line("sorted(liste)").locator("code")).to_have_text("sorted(liste)")

    await amina.composer.press("ArrowUp")
    await expect(amina.composer).to_have_value("Et un dictionaire ?")
    await amina.say("Et un dictionnaire ?")
    await expect(claire.line("Et un dictionnaire ?")).to_contain_text("(modifié)")

    await claire.act("Et un dictionnaire ?", "Réagir")
    await claire.page.get_by_role("button", name="👍").click()
    chip = amina.line("Et un dictionnaire ?").locator(".reaction")
    await expect(chip).to_have_text(re.compile(r"👍\s*1"))
    await chip.click()
    await expect(claire.line("Et un dictionnaire ?").locator(".reaction")).to_have_text(re.compile(r"👍\s*2"))
    await chip.click()
    await expect(claire.line("Et un dictionnaire ?").locator(".reaction")).to_have_text(re.compile(r"👍\s*1"))

    await amina.act("Et un dictionnaire ?", "Supprimer")
    await amina.line("Et un dictionnaire ?").locator(".danger").click()
    await expect(claire.page.get_by_text("Message supprimé", exact=True)).to_be_visible()
    await expect(claire.line("Et un dictionnaire ?")).to_have_count(0)

    # A trainer takes down what a learner wrote; the answer still stands, and its quotation says so.
    await claire.lines.first.hover()
    await claire.lines.first.get_by_role("button", name="Supprimer").click()
    await claire.lines.first.locator(".danger").click()
    await expect(amina.page.get_by_text("Message supprimé par Claire Fontaine")).to_be_visible()
    await expect(amina.line("sorted(liste)").locator(".quote")).to_contain_text("Message supprimé")


async def test_messages_are_text_and_never_html(crowd: Crowd, centre: Centre) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room)
    amina = await crowd.join("amina", room)
    hostile = '<img src="https://exemple.invalid/x" onerror="document.title=1"> <b>gras</b> javascript:alert(1)'
    await claire.say(hostile)
    await claire.say("Voir https://exemple.invalid/a?b=1&c=<script>, merci.")
    await expect(amina.line("onerror").locator(".text")).to_have_text(hostile)
    await expect(amina.log.locator("img, b, script, iframe, style")).to_have_count(0)
    link = amina.line("merci").get_by_role("link")
    await expect(link).to_have_count(1)
    await expect(link).to_have_attribute("href", "https://exemple.invalid/a?b=1&c=")
    await expect(link).to_have_attribute("rel", "noopener noreferrer")
    await expect(link).to_have_attribute("target", "_blank")


async def test_a_direct_conversation_begins_from_the_list_of_members(
    crowd: Crowd, centre: Centre, cluster: LocalCluster
) -> None:
    room = await centre.course("karim", "thomas", "nina")
    thomas = await crowd.join("thomas", room, cluster.node_urls[0])
    karim = await crowd.join("karim", None, cluster.node_urls[1])
    await thomas.page.get_by_role("button", name="Afficher les membres").click()
    members = thomas.page.get_by_role("complementary", name="Membres")
    await expect(members.get_by_role("listitem")).to_have_count(3)
    await expect(members.get_by_role("button", name="Écrire à Nina Kowalski")).to_have_count(0)
    await members.get_by_role("button", name="Écrire à Karim Benali").click()
    await expect(thomas.page.get_by_role("heading", level=1)).to_have_text("Karim Benali")
    await expect(thomas.page.locator(".heading .muted")).to_have_text("En ligne")
    await thomas.say("Bonjour Karim, puis-je rattraper le TP ?")

    row = karim.page.locator(".room-row", has_text="Thomas Nguyen")
    await expect(row.locator(".unread")).to_contain_text("1")
    await row.click()
    await karim.sees("puis-je rattraper le TP")
    await expect(thomas.readers).to_have_text("Lu")


async def test_somebody_who_is_removed_loses_the_room_at_once(crowd: Crowd, centre: Centre) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.join("amina", room)
    await amina.say("Encore là")
    await centre.remove(room, "amina")
    await expect(amina.page.get_by_text("Cette conversation n’est plus accessible")).to_be_visible()
    await expect(amina.room(room)).to_have_count(0)


async def test_a_room_appears_when_one_is_added(crowd: Crowd, centre: Centre) -> None:
    amina = await crowd.join("amina")
    room = await centre.course("claire", "amina", title="Tout neuf")
    await expect(amina.room(room)).to_contain_text("Tout neuf")
