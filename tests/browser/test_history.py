"""Earlier messages load while one scrolls, and nothing moves under the eyes."""

from playwright.async_api import expect

from tests.browser.centre import Centre
from tests.browser.people import Crowd, Person


async def top_of(person: Person, text: str) -> float:
    box = await person.line(text).bounding_box()
    assert box is not None
    return box["y"]


async def test_history_loads_on_scrolling_and_what_is_read_stays_where_it_is(crowd: Crowd, centre: Centre) -> None:
    room = await centre.course("claire", "amina")
    await centre.say(room, "claire", [f"Leçon {n:03d}. {'Encore un peu de texte. ' * (n % 6)}" for n in range(140)])
    amina = await crowd.join("amina", room)
    await amina.sees("Leçon 139")
    await expect(amina.line("Leçon 139")).to_be_in_viewport()
    await expect(amina.line("Leçon 050")).to_have_count(0)

    # In one go, before an answer can come: scroll up, and note what is read and where it stands.
    held, reading, top = await amina.log.evaluate(
        """box => {
            box.scrollTop = Math.min(box.scrollTop, 300);
            const edge = box.getBoundingClientRect().top;
            const lines = [...box.querySelectorAll('article')];
            const first = lines.find(line => line.getBoundingClientRect().top >= edge);
            return [lines.length, first.textContent.match(/Leçon [0-9]{3}/)[0], first.getBoundingClientRect().top];
        }"""
    )
    await expect(amina.lines).not_to_have_count(held)
    assert abs(await top_of(amina, reading) - top) < 2

    # New messages do not pull a reader down either.
    await centre.say(room, "claire", ["Tout en bas"])
    await expect(amina.line("Tout en bas")).to_have_count(1)
    assert abs(await top_of(amina, reading) - top) < 2
    await expect(amina.line("Tout en bas")).not_to_be_in_viewport()
    await amina.page.get_by_role("button", name="Aller aux derniers messages").click()
    await expect(amina.line("Tout en bas")).to_be_in_viewport()

    # All of it is reached in the end, each message once and in order.
    beginning = amina.page.get_by_text("Début de la conversation")
    while not await beginning.is_visible():
        await amina.log.evaluate("box => { box.scrollTop = 0; }")
        await expect(amina.log).to_have_attribute("aria-busy", "false")
    texts = await amina.page.locator("article.message .text").all_inner_texts()
    assert [text[:9] for text in texts] == [f"Leçon {n:03d}" for n in range(140)] + ["Tout en b"]


async def test_an_answer_leads_to_what_it_answers_however_far_back(crowd: Crowd, centre: Centre) -> None:
    room = await centre.course("claire", "amina")
    amina = await crowd.join("amina", room)
    await amina.say("La question de départ")
    await amina.sees("La question de départ")
    await amina.act("La question de départ", "Répondre")
    await amina.say("Je précise")
    await amina.sees("Je précise")
    await centre.say(room, "claire", [f"Autre sujet {n}" for n in range(90)])
    await amina.act("Je précise", "Répondre")
    await amina.say("Et j’y reviens")
    await amina.sees("Et j’y reviens")

    hugo = await crowd.join("amina", room)
    await expect(hugo.line("La question de départ")).to_have_count(0)
    quote = hugo.line("Et j’y reviens").locator("button.quote")
    await expect(quote).to_contain_text("Je précise")
    await quote.click()
    await expect(hugo.line("Je précise").first).to_be_in_viewport()
    await expect(hugo.page.locator("article.flashed")).to_contain_text("Je précise")
