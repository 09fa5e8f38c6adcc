"""Rules taken out one at a time, on the real classes, to see that the simulation says no.

Each mutation names the rule of ARCHITECTURE §1, §2 or §3 that it breaks; :func:`applied` puts it in place for a while.
A rule that others cover is taken out with what covers it.
"""

from typing import Final

from tests.simulation.mutations.copies import COPIES
from tests.simulation.mutations.epochs import EPOCHS
from tests.simulation.mutations.following import FOLLOWING
from tests.simulation.mutations.history import HISTORY
from tests.simulation.mutations.mutation import Mutation, applied
from tests.simulation.mutations.order import CLIENT_THAT_GOES_ON, ORDER
from tests.simulation.mutations.rights import RIGHTS
from tests.simulation.mutations.servers import SERVERS
from tests.simulation.mutations.stored import STORED

MUTATIONS: Final = (*STORED, *COPIES, *ORDER, *FOLLOWING, *SERVERS, *HISTORY, *RIGHTS, *EPOCHS)

__all__ = ["CLIENT_THAT_GOES_ON", "MUTATIONS", "Mutation", "applied"]
