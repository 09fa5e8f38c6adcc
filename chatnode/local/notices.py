"""What happens in a local cluster, as values: who watches decides how to say it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Starting:
    """A child was started; it is not ready yet."""

    name: str


@dataclass(frozen=True, slots=True)
class Ready:
    name: str
    seconds: float
    """Since it was started."""
    where: str
    pid: int


@dataclass(frozen=True, slots=True)
class Died:
    """A child ended that nobody asked to, or did not start again; it is started after ``again_s``."""

    name: str
    why: str
    again_s: float


@dataclass(frozen=True, slots=True)
class Stopped:
    name: str
    willingly: bool
    """False when it had to be killed."""


@dataclass(frozen=True, slots=True)
class Said:
    """A child printed something that people should see."""

    name: str
    words: str


Notice = Starting | Ready | Died | Stopped | Said
