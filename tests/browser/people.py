"""People with a window each: what they do, and where on the page they look."""

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, WebSocketRoute, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

from chatnode.local.cluster import LocalCluster

SCREENSHOTS: Final = Path(__file__).parents[2] / "build" / "screenshots"
PATIENCE_MS: Final = 20_000
_POINTINGS: Final = 4
"""How long a condition may take on a busy machine; a test that passes waits only as long as it must."""

expect.set_options(timeout=PATIENCE_MS)


class Crowd:
    """Opens windows, watches all of them for errors, closes them."""

    def __init__(self, browser: Browser, cluster: LocalCluster) -> None:
        self._browser = browser
        self._cluster = cluster
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.forgives_lost_connections = False

    async def window(self, url: str | None = None, **options: Any) -> "Person":
        """A window of its own (cookies, storage) on the sign-in page; ``options`` are Playwright's for a context."""
        options = {"viewport": {"width": 1280, "height": 800}, "locale": "fr-FR", **options}
        context = await self._browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        self._contexts.append(context)
        page = await context.new_page()
        self.watch(page)
        person = Person(page, url or self._cluster.url)
        await page.goto(person.url)
        return person

    async def beside(self, person: "Person") -> "Person":
        """Another window of the same browser, on the sign-in page."""
        page = await person.page.context.new_page()
        self.watch(page)
        await page.goto(person.url)
        return Person(page, person.url)

    async def spied(self, person: "Person") -> "SpiedSocket":
        """From the next page on, what this window hears by WebSocket can be added to."""
        spied = SpiedSocket()
        await person.page.route_web_socket("**/v1/ws", spied.carry)
        await person.page.reload()
        return spied

    async def join(self, user: str, room: str | None = None, url: str | None = None, **options: Any) -> "Person":
        """A window, signed in as ``user``, with this room open."""
        person = await self.window(url, **options)
        await person.sign_in(user)
        if room is not None:
            await person.enter(room)
        return person

    async def join_on(self, node: str, user: str, room: str) -> "Person":
        """Through the front door, in a window that was led to this node."""
        for _ in range(12):
            person = await self.join(user, room)
            if await person.node() == node:
                return person
            await person.page.context.close()
        raise AssertionError(f"the front door led nobody to {node}")

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()

    def watch(self, page: Page) -> None:
        """Whatever this page complains of is a complaint; for windows that were not opened here."""

        def console(message: ConsoleMessage) -> None:
            if message.type in {"error", "warning"} and not self._forgiven(message.text):
                self.complaints.append(f"{message.type}: {message.text}")

        def request(sent: Request) -> None:
            if urlsplit(sent.url).hostname != "127.0.0.1":
                self.complaints.append(f"asked another origin: {sent.url}")

        page.on("console", console)
        page.on("request", request)
        page.on("websocket", lambda socket: self._check_socket(socket.url))
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))

    def _check_socket(self, url: str) -> None:
        if urlsplit(url).hostname != "127.0.0.1":
            self.complaints.append(f"opened a socket elsewhere: {url}")

    def _forgiven(self, text: str) -> bool:
        """Chromium itself reports lost connections; a page cannot keep it from that."""
        lost = "WebSocket connection to" in text or "Failed to load resource" in text
        return lost and self.forgives_lost_connections


class SpiedSocket:
    """Between a page and its node: everything passes, and words can be put in."""

    def __init__(self) -> None:
        self._page: WebSocketRoute | None = None

    def carry(self, page: WebSocketRoute) -> None:
        self._page = page
        page.connect_to_server()

    def say(self, frame: str) -> None:
        assert self._page is not None
        self._page.send(frame)


class Person:
    """One window and what its person does there, as a person would: by names, roles and text."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.lines = page.locator("article.message")
        self.composer = page.get_by_role("textbox")
        self.log = page.get_by_role("log")
        self.typing = page.locator(".typing")
        self.readers = page.locator(".readers")
        self.banner = page.locator(".banner")

    async def sign_in(self, user: str) -> None:
        await self.page.locator(f"[data-user={user}]").click()
        await self.is_connected()

    @property
    def connection(self) -> Locator:
        """What says how the connection is; always exactly one is in view."""
        return self.page.locator(".connection:visible")

    async def is_connected(self) -> None:
        await expect(self.connection).to_have_attribute("data-phase", "connected")

    async def is_on(self, transport: str) -> None:
        await expect(self.connection).to_have_attribute("data-transport", transport)

    async def is_offline(self) -> None:
        await expect(self.connection).to_have_text("Hors ligne")

    async def hears_of_a_network(self) -> None:
        """The device has another one: whatever is better is tried at once."""
        await self.page.evaluate("dispatchEvent(new Event('online'))")

    async def node(self) -> str | None:
        await self.is_connected()
        return await self.connection.get_attribute("data-node")

    def room(self, room: str) -> Locator:
        return self.page.locator(f"[data-room={room}]")

    async def enter(self, room: str) -> None:
        await self.room(room).click()
        await expect(self.log).to_have_attribute("aria-busy", "false")

    async def say(self, text: str) -> None:
        await self.composer.fill(text)
        await self.composer.press("Enter")

    def line(self, text: str) -> Locator:
        return self.lines.filter(has_text=text)

    async def sees(self, text: str, mark: str = "sent") -> None:
        """Exactly one message with this text, in this state."""
        await expect(self.line(text)).to_have_count(1)
        await expect(self.line(text)).to_have_attribute("data-mark", mark)

    async def sees_in_order(self, *texts: str) -> None:
        """The last messages are exactly these."""
        await expect(self.page.locator("article.message .text")).to_have_text([re.compile(re.escape(t)) for t in texts])

    async def act(self, text: str, action: str) -> None:
        """Press one of the buttons that come with a message; where a message that arrives pushes it away from under the
        pointer, point at it again, as a person does."""
        button = self.line(text).get_by_role("button", name=action, exact=True)
        for left in reversed(range(_POINTINGS)):
            await self.line(text).hover()
            try:
                await button.click(timeout=PATIENCE_MS / _POINTINGS)
            except PlaywrightTimeout:
                if not left:
                    raise
            else:
                return

    async def picture(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    async def overflow(self) -> int:
        """How many pixels the page is wider than its window."""
        return int(await self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))
