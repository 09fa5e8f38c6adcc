"""Scopes that tokens carry (RFC 8693 §4.2)."""

from collections.abc import Collection
from typing import Final

ADMIN_SCOPE: Final = "chat:admin"
"""Of the platform's backend: rooms, members and revocations, whoever's they are."""


def is_service(scopes: Collection[str]) -> bool:
    return ADMIN_SCOPE in scopes
