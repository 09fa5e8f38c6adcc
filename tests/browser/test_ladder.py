"""Where WebSockets do not pass: down to server-sent events, to polls, and up again; nothing is lost or said twice."""

from tests.browser.cable import Cable, Way
from tests.browser.centre import Centre
from tests.browser.people import Crowd, Person


async def talk(first: Person, second: Person, word: str) -> list[str]:
    """Each says something that the other hears."""
    said = [f"{word}, de la première", f"{word}, de la seconde"]
    for person, other, text in ((first, second, said[0]), (second, first, said[1])):
        await person.say(text)
        await person.sees(text)
        await other.sees(text)
    return said


async def test_it_goes_down_the_ladder_and_up_again_and_nothing_is_lost_or_said_twice(
    crowd: Crowd, centre: Centre, cable: Cable
) -> None:
    room = await centre.course("claire", "amina")
    claire = await crowd.join("claire", room)
    amina = await crowd.join("amina", room, cable.url)
    await amina.is_on("websocket")
    said = await talk(claire, amina, "Par WebSocket")

    cable.block(Way.SOCKET)
    await claire.say("Pendant la descente")
    await amina.is_on("sse")
    await amina.is_connected()
    await amina.sees("Pendant la descente")
    said += ["Pendant la descente", *await talk(claire, amina, "Par SSE")]

    cable.block(Way.EVENTS)
    await amina.say("Entre deux")
    await amina.is_on("poll")
    await amina.sees("Entre deux")
    said += ["Entre deux", *await talk(claire, amina, "Par interrogation")]

    cable.mend()
    await amina.hears_of_a_network()
    await amina.is_on("websocket")
    said += await talk(claire, amina, "De nouveau par WebSocket")
    await amina.sees_in_order(*said)
    assert await centre.texts(room) == said
