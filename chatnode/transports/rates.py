"""How often one user may ask over HTTP: a token bucket each, in a table of bounded size."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from chatnode.session.bucket import TokenBucket

_USERS_MAX: Final = 50_000


class Rates:
    """``clock`` gives monotonic seconds. Of more than ``users_max`` users the one who asked longest ago starts anew."""

    def __init__(
        self, rate_per_s: float, burst: int, *, clock: Callable[[], float], users_max: int = _USERS_MAX
    ) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock = clock
        self._users_max = users_max
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def wait(self, user: str) -> float:
        """0.0: go on, and it is counted; else the seconds until the user may ask again."""
        return self.bucket(user).take(self._clock())

    def bucket(self, user: str) -> TokenBucket:
        bucket = self._buckets.get(user)
        if bucket is None:
            bucket = self._buckets[user] = TokenBucket(self._rate_per_s, self._burst, self._clock())
            if len(self._buckets) > self._users_max:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(user)
        return bucket
