"""MongoDB's order of values, and aggregation expressions: as much of both as :mod:`chatnode.history` uses."""

from collections.abc import Callable, Mapping
from typing import Any, Final

Document = dict[str, Any]

MISSING = object()
REMOVE = object()


def rank(value: object) -> tuple[Any, ...]:
    """BSON's order, as far as it is used: nothing before numbers before strings before documents."""
    if type(value) is int:
        return (1, value)
    if value is None or value is MISSING:
        return (0,)
    if isinstance(value, bool):
        return (4, value)
    if isinstance(value, int | float):
        return (1, value)
    if isinstance(value, str):
        return (2, value)
    if isinstance(value, dict):
        return (3, *(rank(part) for part in value.values()))
    raise NotImplementedError(f"the order of {value!r}")


def value_at(document: Mapping[str, Any], path: str) -> Any:
    if "." not in path:
        return document.get(path, MISSING)
    found: Any = document
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return MISSING
        found = found[name]
    return found


Operator = Callable[["Expressions", Any, Document], Any]


class Expressions:
    """Evaluates aggregation expressions."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms

    def value(self, expression: Any, root: Document) -> Any:
        kind = type(expression)
        if kind is dict:
            if len(expression) == 1:
                ((name, operand),) = expression.items()
                if name[:1] == "$":
                    return _OPERATORS[name](self, operand, root)
            result = {}
            for name, part in expression.items():
                found = self.value(part, root)
                if found is not MISSING and found is not REMOVE:
                    result[name] = found
            return result
        if kind is str:
            if expression[:1] != "$":
                return expression
            if expression[:2] == "$$":
                return self._variable(expression, root)
            return value_at(root, expression[1:])
        if kind is list:
            return [self.value(part, root) for part in expression]
        return expression

    def _variable(self, name: str, root: Document) -> Any:
        match name:
            case "$$ROOT":
                return root
            case "$$NOW":
                return self._now_ms()
            case "$$REMOVE":
                return REMOVE
        raise NotImplementedError(name)

    def _cond(self, operand: Any, root: Document) -> Any:
        return self.value(operand[1] if self.value(operand[0], root) else operand[2], root)

    def _eq(self, operand: Any, root: Document) -> Any:
        return self.value(operand[0], root) == self.value(operand[1], root)

    def _type(self, operand: Any, root: Document) -> Any:
        return "missing" if self.value(operand, root) is MISSING else "present"

    def _merge_objects(self, operand: Any, root: Document) -> Any:
        merged: Document = {}
        for part in operand:
            merged.update(self.value(part, root))
        return merged

    def _ranks(self, operand: Any, root: Document) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return rank(self.value(operand[0], root)), rank(self.value(operand[1], root))

    def _less(self, operand: Any, root: Document) -> Any:
        left, right = self._ranks(operand, root)
        return left < right

    def _at_most(self, operand: Any, root: Document) -> Any:
        left, right = self._ranks(operand, root)
        return left <= right

    def _greater(self, operand: Any, root: Document) -> Any:
        left, right = self._ranks(operand, root)
        return left > right

    def _max(self, operand: Any, root: Document) -> Any:
        return max((self.value(part, root) for part in operand), key=rank)

    def _if_null(self, operand: Any, root: Document) -> Any:
        found = self.value(operand[0], root)
        return self.value(operand[1], root) if found is MISSING or found is None else found

    def _all(self, operand: Any, root: Document) -> Any:
        return all(self.value(part, root) for part in operand)

    def _any(self, operand: Any, root: Document) -> Any:
        return any(self.value(part, root) for part in operand)

    def _add(self, operand: Any, root: Document) -> Any:
        return sum(self.value(part, root) for part in operand)

    def _concat_arrays(self, operand: Any, root: Document) -> Any:
        return [item for part in operand for item in self.value(part, root)]


_OPERATORS: Final[dict[str, Operator]] = {
    "$literal": lambda _expressions, operand, _root: operand,
    "$cond": Expressions._cond,
    "$eq": Expressions._eq,
    "$type": Expressions._type,
    "$mergeObjects": Expressions._merge_objects,
    "$lt": Expressions._less,
    "$lte": Expressions._at_most,
    "$gt": Expressions._greater,
    "$max": Expressions._max,
    "$ifNull": Expressions._if_null,
    "$and": Expressions._all,
    "$or": Expressions._any,
    "$add": Expressions._add,
    "$concatArrays": Expressions._concat_arrays,
}
