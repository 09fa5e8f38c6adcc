"""Kubernetes objects as values: JSON in and out, and the few questions that are asked of any of them."""

import base64
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | float | bool | None"
Object: TypeAlias = Mapping[str, Json]
"""One Kubernetes object. Built by ``plan``, never changed afterwards."""

_KEYS: Final = ("name", "containerPort", "port", "mountPath", "topologyKey", "type", "ip")
"""By which of these fields the items of a list are told apart, as server-side apply does it."""


class Ref(NamedTuple):
    """Where an object is, within the namespace of its cluster."""

    api_version: str
    kind: str
    name: str


def ref(thing: Object) -> Ref:
    return Ref(text(thing, "apiVersion"), text(thing, "kind"), text(thing, "metadata", "name"))


def at(thing: Json, *path: str) -> Json:
    """The value at ``path``; None where it is absent."""
    for step in path:
        if not isinstance(thing, Mapping):
            return None
        thing = thing.get(step)
    return thing


def text(thing: Json, *path: str) -> str:
    found = at(thing, *path)
    return found if isinstance(found, str) else ""


def number(thing: Json, *path: str) -> int:
    found = at(thing, *path)
    return found if isinstance(found, int) else 0


def items(thing: Json, *path: str) -> Sequence[Json]:
    found = at(thing, *path)
    return found if isinstance(found, Sequence) and not isinstance(found, str) else ()


def decoded(secret: Object | None, keys: Collection[str] | None = None) -> Mapping[str, str]:
    """What a Secret holds under ``keys`` (None: all of them), as text; without what is empty."""
    data = mapping(secret, "data")
    return {
        key: base64.b64decode(value).decode(errors="replace")
        for key, value in data.items()
        if isinstance(value, str) and value and (keys is None or key in keys)
    }


def mapping(thing: Json, *path: str) -> Mapping[str, Json]:
    found = at(thing, *path)
    return found if isinstance(found, Mapping) else {}


def covers(live: Json, wanted: Json) -> bool:
    """Whether ``live`` has everything that ``wanted`` says; what others added beside it does not count.

    Lists of objects are matched by their key as server-side apply merges them, all other lists have to be equal. What
    the API server does not store (an empty object or list, None) counts as said.
    """
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            return live is None and not wanted
        return all(covers(live.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        if live is None:
            return not wanted
        if not isinstance(live, Sequence) or isinstance(live, str):
            return False
        return _covers_list(live, wanted)
    return live == wanted


def _covers_list(live: Sequence[Json], wanted: Sequence[Json]) -> bool:
    key = _key_of(wanted)
    if key is None:
        return len(live) == len(wanted) and all(covers(*pair) for pair in zip(live, wanted, strict=True))
    return all(any(at(have, key) == at(item, key) and covers(have, item) for have in live) for item in wanted)


def differences(live: Json, wanted: Json, path: str = "") -> Iterator[str]:
    """The places at which ``live`` lacks what ``wanted`` says (see :func:`covers`), as ``spec.ports[http].port``."""
    if covers(live, wanted):
        return
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        for key, value in wanted.items():
            step = f"[{key}]" if "." in key else f".{key}"
            yield from differences(live.get(key), value, f"{path}{step}".lstrip("."))
        return
    by = _key_of(wanted)
    if by is None or not isinstance(live, Sequence) or isinstance(live, str):
        yield path
        return
    for item in items(wanted):
        same = [have for have in live if at(have, by) == at(item, by)]
        yield from differences(same[0] if same else None, item, f"{path}[{at(item, by)}]")


def _key_of(wanted: Json) -> str | None:
    listed = items(wanted)
    return next((key for key in _KEYS if listed and all(at(item, key) is not None for item in listed)), None)


def still_wanted(fields: Json, wanted: Json) -> bool:
    """Whether everything that a field manager owns (``fieldsV1``) is in what it wants now.

    What it owns and no longer wants is taken away only by applying again.
    """
    for step, below in mapping(fields).items():
        kind, _, rest = step.partition(":")
        if kind == "f":
            inner = mapping(wanted).get(rest)
            if inner is None and rest not in mapping(wanted):
                return False
        elif kind == "k":
            key: Json = msgspec.json.decode(rest)
            found = next((item for item in items(wanted) if covers(item, key)), None)
            if found is None:
                return False
            inner = found
        elif kind == "v":
            if msgspec.json.decode(rest) not in items(wanted):
                return False
            continue
        else:
            continue
        if below and not still_wanted(below, inner):
            return False
    return True


def owned_by(live: Object, manager: str, subresource: str = "") -> Json:
    """``fieldsV1`` of what ``manager`` applied; None where it applied nothing."""
    for entry in items(live, "metadata", "managedFields"):
        if (
            text(entry, "manager") == manager
            and text(entry, "operation") == "Apply"
            and text(entry, "subresource") == subresource
        ):
            return at(entry, "fieldsV1")
    return None


def needs_apply(live: Object | None, wanted: Object, manager: str) -> bool:
    """Whether applying ``wanted`` would change anything."""
    if live is None or not covers(live, wanted):
        return True
    owned = owned_by(live, manager)
    return owned is None or not still_wanted(owned, wanted)
