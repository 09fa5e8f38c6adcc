"""Kubernetes quantities in the one form in which the API server stores them, so that comparing finds no difference."""

import re
from fractions import Fraction
from typing import Final

_FORM: Final = re.compile(r"(?P<number>[+-]?(\d+\.?\d*|\.\d+))(?P<suffix>[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+|)")
_BINARY: Final = {f"{letter}i": 1024**power for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL: Final = {
    **{letter: Fraction(1, 1000**power) for power, letter in enumerate("mun", 1)},
    "": Fraction(1),
    **{letter: Fraction(1000**power) for power, letter in enumerate("kMGTPE", 1)},
}


def canonical(quantity: int | str) -> str:
    """``1000m`` is ``1``, ``0.5Gi`` is ``512Mi``; what is no quantity stays, for the API server to refuse."""
    found = _FORM.fullmatch(str(quantity))
    if found is None:
        return str(quantity)
    number, suffix = Fraction(found["number"]), found["suffix"]
    if suffix in _BINARY:
        amount = number * _BINARY[suffix]
        if amount.denominator == 1 and abs(amount) >= 1024:
            return _largest(amount, {"": Fraction(1)} | {key: Fraction(value) for key, value in _BINARY.items()})
        return _largest(amount, _DECIMAL)
    scale = Fraction(10) ** int(suffix[1:]) if suffix[:1] in {"e", "E"} and suffix[1:] else _DECIMAL[suffix]
    return _largest(number * scale, _DECIMAL)


def _largest(amount: Fraction, scales: dict[str, Fraction]) -> str:
    """With the largest suffix that leaves a whole number."""
    if amount == 0:
        return "0"
    for suffix, scale in sorted(scales.items(), key=lambda each: -each[1]):
        if (amount / scale).denominator == 1:
            return f"{amount / scale}{suffix}"
    return f"{amount}"
