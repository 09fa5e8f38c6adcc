"""The people of the demo: who can be picked at the sign-in of local mode, and who is in the demo's rooms."""

from dataclasses import dataclass
from typing import Final

from chatnode.protocol.control import Role


@dataclass(frozen=True, slots=True)
class DemoUser:
    """One person; ``role`` is the one that they have in the demo's courses."""

    user: str
    name: str
    role: Role


DEMO_USERS: Final[tuple[DemoUser, ...]] = (
    DemoUser("claire", "Claire Fontaine", "trainer"),
    DemoUser("karim", "Karim Benali", "trainer"),
    DemoUser("sophie", "Sophie Laurent", "moderator"),
    DemoUser("amina", "Amina Diallo", "learner"),
    DemoUser("hugo", "Hugo Mercier", "learner"),
    DemoUser("lea", "Léa Petit", "learner"),
    DemoUser("mehdi", "Mehdi Roussel", "learner"),
    DemoUser("nina", "Nina Kowalski", "learner"),
    DemoUser("thomas", "Thomas Nguyen", "learner"),
)
