"""Phones, languages, darkness, the keyboard; pictures go to ``build/screenshots``."""

import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from chatnode.local.cluster import LocalCluster
from chatnode.local.seed import furnish
from tests.browser.centre import Centre
from tests.browser.people import Crowd

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "client.png"


@pytest.mark.parametrize(("name", "width", "height"), [("phone", 360, 740), ("smallest", 320, 568)])
async def test_on_a_phone_there_is_one_pane_at_a_time(
    crowd: Crowd, centre: Centre, name: str, width: int, height: int
) -> None:
    room = await centre.course("claire", "amina", title="Un titre qui est vraiment très long pour un petit écran")
    await centre.say(
        room,
        "claire",
        [
            "Unmottrèslong" * 12,
            "https://exemple.invalid/" + "chemin/" * 30,
            "```\n" + "code très large " * 12 + "\n```",
        ],
    )
    viewport = {"width": width, "height": height}
    amina = await crowd.window(viewport=viewport, has_touch=True, is_mobile=True)
    assert await amina.overflow() <= 0
    await amina.picture(f"{name}-sign-in")
    await amina.sign_in("amina")
    await expect(amina.room(room)).to_be_visible()
    await amina.picture(f"{name}-rooms")
    assert await amina.overflow() <= 0

    await amina.room(room).tap()
    await expect(amina.composer).to_be_visible()
    await expect(amina.page.get_by_role("navigation")).to_be_hidden()
    await expect(amina.connection).to_have_text("Connecté")
    await amina.say("Depuis mon téléphone")
    await amina.sees("Depuis mon téléphone")
    await amina.line("Depuis mon téléphone").locator(".text").tap()
    await amina.picture(f"{name}-room")
    assert await amina.overflow() <= 0
    for action in ("Réagir", "Répondre", "Modifier", "Supprimer"):
        await expect(amina.page.get_by_role("button", name=action)).to_be_in_viewport(ratio=1)
    await amina.page.get_by_role("button", name="Afficher les membres").tap()
    await expect(amina.page.get_by_role("complementary")).to_be_in_viewport()
    assert await amina.overflow() <= 0
    await amina.page.get_by_role("button", name="Fermer le panneau des membres").tap()

    await amina.page.get_by_role("link", name="Retour aux conversations").tap()
    await expect(amina.room(room)).to_be_visible()
    await expect(amina.composer).to_have_count(0)
    await amina.page.go_back()
    await expect(amina.composer).to_be_visible()


async def test_it_speaks_french_until_english_is_chosen_and_remembers(crowd: Crowd, centre: Centre) -> None:
    room = await centre.course("claire", "amina")
    person = await crowd.window(locale="en-GB")
    await expect(person.page.get_by_role("heading", name="Qui êtes-vous ?")).to_be_visible()
    await person.page.get_by_role("button", name="English").click()
    await expect(person.page.get_by_role("heading", name="Who are you?")).to_be_visible()
    await expect(person.page.locator("html")).to_have_attribute("lang", "en")
    await person.sign_in("amina")
    await expect(person.connection).to_have_text("Connected")
    await person.enter(room)
    await person.say("Hello")
    await person.sees("Hello")
    await expect(person.readers).to_have_text("Sent")
    await person.page.reload()
    await person.sees("Hello")
    await expect(person.page.locator(".rooms h2").first).to_have_text("Courses")
    await person.picture("english")
    await person.page.get_by_role("button", name="Français").click()
    await expect(person.page.locator(".rooms h2").first).to_have_text("Cours")
    await expect(person.readers).to_have_text("Envoyé")


async def test_everything_is_reached_by_keyboard(crowd: Crowd, centre: Centre) -> None:
    room = await centre.course("claire", "amina")
    person = await crowd.window()
    press = person.page.keyboard.press
    focus = person.page.locator(":focus")
    first = person.page.locator("[data-user=claire]")
    await expect(first).to_be_visible()
    for _ in range(3):
        await press("Tab")
    await expect(focus).to_have_attribute("data-user", "claire")
    await press("Enter")
    await expect(person.room(room)).to_be_visible()
    await person.room(room).focus()
    await press("Enter")
    await expect(focus).to_have_role("textbox")
    await person.page.keyboard.type("Une ligne")
    await press("Shift+Enter")
    await person.page.keyboard.type("et une autre")
    await press("Enter")
    await person.sees("Une ligne")
    await person.say("Seconde")
    await person.sees("Seconde")

    # From the composer back to the last message, up to the one before, and into its actions.
    await press("Shift+Tab")
    while await focus.get_attribute("data-key") is None:
        await press("Shift+Tab")
    await expect(focus).to_contain_text("Seconde")
    await press("ArrowUp")
    await expect(focus).to_contain_text("Une ligne")
    await press("Tab")
    await expect(focus).to_have_attribute("aria-label", "Réagir")
    outline = await focus.evaluate("element => getComputedStyle(element).outlineStyle")
    assert outline == "solid"
    await press("Enter")
    await expect(focus).to_have_text("👍")
    await press("Escape")
    await expect(focus).to_have_attribute("aria-label", "Réagir")
    await press("Tab")
    await press("Enter")
    await expect(person.page.locator(".writing")).to_contain_text("Réponse à Claire Fontaine")
    await expect(focus).to_have_role("textbox")
    await press("Escape")
    await expect(person.page.locator(".writing")).to_have_count(0)

    await person.line("Une ligne").focus()
    await person.line("Une ligne").get_by_role("button", name="Supprimer").focus()
    await press("Enter")
    await expect(focus).to_have_class("danger")
    await press("Enter")
    await expect(person.lines.first).to_contain_text("Message supprimé")
    await expect(focus).to_contain_text("Message supprimé")

    members = person.page.get_by_role("button", name="Afficher les membres")
    await members.focus()
    await press("Enter")
    await expect(person.page.get_by_role("complementary")).to_be_visible()
    await press("Escape")
    await expect(person.page.get_by_role("complementary")).to_have_count(0)


async def test_the_page_may_load_nothing_from_elsewhere(crowd: Crowd, cluster: LocalCluster) -> None:
    person = await crowd.window(cluster.node_urls[0])
    response = await person.page.goto(cluster.node_urls[0])
    assert response is not None
    policy = (await response.all_headers())["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert await person.page.evaluate("[...document.querySelectorAll('[style],script:not([src])')].length") == 0


async def test_it_is_worth_a_picture(chromium: Browser, tmp_path: Path) -> None:
    """The demo as people meet it, in light and dark, on a cluster of its own; the light one is in the README."""
    async with LocalCluster(tmp_path, nodes=2, sync_always=False) as cluster:
        await furnish(cluster)
        crowd = Crowd(chromium, cluster)
        claire = await crowd.join("claire", "python-premiers-pas", color_scheme="dark")
        amina = await crowd.join("amina", "python-premiers-pas")
        await expect(amina.line("random.randint")).to_be_in_viewport()
        await claire.composer.press_sequentially("Bravo")
        await expect(amina.typing).to_have_text("Claire Fontaine écrit…")
        await amina.picture("desktop")
        if os.environ.get("CHAT_TAKE_PICTURE"):
            await amina.page.screenshot(path=PICTURE)
        await claire.page.get_by_role("button", name="Afficher les membres").click()
        await expect(claire.page.get_by_role("complementary").get_by_role("listitem").first).to_be_visible()
        await claire.picture("desktop-dark")
        await crowd.close()
        assert crowd.complaints == []
