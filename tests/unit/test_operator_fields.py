"""Each field of a ChatCluster means something: another value changes what is planned, and unset it changes it back."""

from collections.abc import Mapping

import pytest

from chatoperator import crd
from chatoperator.plan.decide import Desired, plan
from chatoperator.spec import parse
from tests.unit.operator_cases import NOW, observed, resource
from tests.unit.operator_fields import FIELDS, NOT_OBJECTS, changed, given, leaves
from tests.unit.test_operator_plan import ENVOY_GATEWAY


def planned(spec: Mapping[str, object]) -> Desired:
    return plan(parse(resource(None, **spec)), observed(gateway=ENVOY_GATEWAY), NOW)


@pytest.mark.parametrize("path", sorted(FIELDS))
def test_a_field_changes_what_is_planned_and_changes_it_back(path: str) -> None:
    one, two, three = planned(given(path)), planned(changed(path)), planned(given(path))
    assert (two.objects, two.scale, two.issues) != (one.objects, one.scale, one.issues)
    assert (three.objects, three.issues) == (one.objects, one.issues)


@pytest.mark.parametrize("name", ["issuer", "jwksUrl", "audience", "allowedOrigins"])
def test_whose_tokens_are_believed_changes_what_nodes_are_told(name: str) -> None:
    auth = {"issuer": "https://i.test", "jwksUrl": "https://i.test/jwks.json", "audience": "a", "allowedOrigins": []}
    value = ["https://w.test"] if name == "allowedOrigins" else "https://other.test"

    def told(asked: Mapping[str, object]) -> Desired:
        whole = resource()
        whole["spec"] = {"auth": asked}
        return plan(parse(whole), observed(), NOW)

    assert told(auth).objects != told({**auth, name: value}).objects


def test_the_exceptions_are_fields() -> None:
    assert {path for path, _ in leaves(crd.spec_schema())} >= set(NOT_OBJECTS)
