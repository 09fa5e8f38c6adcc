"""What the browser keeps on its device: copies of rooms, the page itself, commands that wait."""

import asyncio
from collections.abc import Awaitable, Callable

from playwright.async_api import Page

from tests.browser.people import PATIENCE_MS

COPIES = """() => new Promise((resolve, reject) => {
  const opening = indexedDB.open("chat-copies");
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const all = opening.result.transaction("rooms").objectStore("rooms").getAll();
    all.onsuccess = () => { opening.result.close(); resolve(JSON.stringify(all.result)); };
  };
})"""
SHELL = """async () => {
  const names = await caches.keys();
  return Promise.all(names.map(async (name) => (await (await caches.open(name)).keys()).map(({ url }) => url)));
}"""

LIST = "localStorage.getItem('chat.rooms.1.amina')"
"""The list of her rooms."""

HOLD_OUTBOX = """() => new Promise((resolve, reject) => {
  const opening = indexedDB.open("chat-outbox");
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const commands = opening.result.transaction("commands", "readwrite").objectStore("commands");
    let held = true;
    window.letGo = () => { held = false; };
    const again = () => { if (held) commands.get(0).onsuccess = again; };
    again();
    resolve();
  };
})"""
"""Lets nobody write to the database until ``letGo()``."""

AS_IF_NOT_KEPT = """() => new Promise((resolve, reject) => {
  const opening = indexedDB.open("chat-outbox");
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const rows = opening.result.transaction("commands").objectStore("commands").index("user").getAll("amina");
    rows.onsuccess = () => {
      sessionStorage.setItem("chat.ahead.amina", JSON.stringify(rows.result.map(({ entry }) => entry)));
      opening.result.close();
      resolve();
    };
  };
})"""
"""The page is gone after its command was kept, before it heard so."""


async def becomes_true(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_MS / 1000):
            while not await condition():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"never became true: {what}") from None


async def keeps(page: Page, *, present: str, absent: str | None = None) -> None:
    """What is kept of conversations on this device has the one text and not the other."""

    async def right() -> bool:
        kept = str(await page.evaluate(COPIES))
        return present in kept and (absent is None or absent not in kept)

    await becomes_true(right, f"{present} is kept, {absent} is not")


async def keeps_list(page: Page, room: str) -> None:
    """The list of rooms that is kept on this device has this one."""

    async def listed() -> bool:
        return room in str(await page.evaluate(LIST))

    await becomes_true(listed, f"{room} is in the list that is kept")


async def keeps_page(page: Page) -> None:
    """The page itself is kept, in one version."""

    async def kept() -> bool:
        stores = await page.evaluate(SHELL)
        files = stores[0] if len(stores) == 1 else []
        return any(url.endswith(".js") for url in files) and page.url.split("#")[0] in files

    await becomes_true(kept, "the page is kept")
