"""What is not known to be stored can be given up: its person is told what became of it, and stays where they were."""

import re

from playwright.async_api import expect

from tests.browser.cable import Cable
from tests.browser.centre import Centre
from tests.browser.people import Crowd

CANCELLED = "Message annulé : il n’a pas été envoyé."
MAYBE = "Ce message ne sera plus envoyé, mais il est peut-être déjà arrivé."


async def test_what_a_node_may_have_is_given_up_as_such_and_shows_where_it_was_stored(
    crowd: Crowd, centre: Centre, cable: Cable
) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room)
    amina = await crowd.join("amina", room, cable.url)
    cable.mute()
    await amina.say("Parti sans réponse")
    await claire.sees("Parti sans réponse")
    cable.cut()
    await amina.is_offline()
    await amina.say("Jamais parti")
    await expect(amina.line("Parti sans réponse").locator(".mark")).to_contain_text("Peut-être déjà envoyé")
    await amina.picture("maybe-sent")
    await amina.line("Jamais parti").get_by_role("button", name="Supprimer").click()
    await expect(amina.page.get_by_text(CANCELLED)).to_be_visible()
    await amina.line("Parti sans réponse").get_by_role("button", name="Ne plus envoyer").click()
    await expect(amina.page.get_by_text(MAYBE)).to_be_visible()
    await expect(amina.lines).to_have_count(0)
    await amina.picture("given-up")
    cable.mend()
    await amina.sees("Parti sans réponse")
    assert await centre.texts(room) == ["Parti sans réponse"]
    await amina.composer.press_sequentially("Suite")
    await expect(amina.page.get_by_text(MAYBE)).to_have_count(0)


async def test_who_leaves_something_unsent_is_told_so_first(crowd: Crowd, centre: Centre, cable: Cable) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.join("amina", room, cable.url)
    cable.cut()
    await amina.is_offline()
    await amina.say("Attend encore")
    leave = amina.page.get_by_role("button", name="Changer de personne")
    await leave.click()
    await expect(amina.page.get_by_role("alert")).to_have_text(
        "Un envoi attend encore ; il partira quand vous serez de retour ici."
    )
    await amina.picture("leaving-unsent")
    await amina.page.keyboard.press("Escape")
    await expect(leave).to_be_focused()
    await leave.click()
    await leave.click()
    cable.mend()
    await amina.page.reload()
    await amina.sign_in("amina")
    await amina.enter(room)
    await amina.sees("Attend encore")


async def test_what_waits_for_a_conversation_that_one_was_removed_from_stays_in_view(
    crowd: Crowd, centre: Centre, cable: Cable
) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.join("amina", room, cable.url)
    cable.cut()
    await amina.is_offline()
    await amina.say("À copier ailleurs")
    await centre.remove(room, "amina")
    cable.mend()
    await amina.hears_of_a_network()
    await expect(amina.page.get_by_text("Leur conversation ne vous est plus accessible.")).to_be_visible()
    await amina.page.reload()
    left = amina.page.locator(".stranded")
    await expect(left).to_contain_text("À copier ailleurs")
    await amina.picture("stranded")
    await left.get_by_role("button", name="Supprimer").click()
    await expect(left).to_have_count(0)


async def test_who_throws_away_by_keyboard_goes_on_from_the_next_message_or_from_the_composer(
    crowd: Crowd, centre: Centre, cable: Cable
) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.join("amina", room, cable.url)
    cable.cut()
    await amina.is_offline()
    for text in ("Un", "Deux", "Trois"):
        await amina.say(text)
    focus = amina.page.locator(":focus")
    for text, then in (("Deux", re.compile("Trois")), ("Trois", None)):
        await amina.line(text).get_by_role("button", name="Supprimer").focus()
        await amina.page.keyboard.press("Enter")
        await expect(amina.line(text)).to_have_count(0)
        if then is None:
            await expect(focus).to_have_role("textbox")
        else:
            await expect(focus).to_have_text(then)
    await centre.close(room)
    cable.mend()
    await amina.sees("Un", "failed")
    await centre.close(room, closed=False)
    await expect(amina.composer).to_be_visible()
    await amina.line("Un").get_by_role("button", name="Réessayer").focus()
    await amina.page.keyboard.press("Enter")
    await amina.sees("Un")
    await expect(focus).to_contain_text("Un")
