"""The contract's documents are those of the code, valid as what they are, and describe what goes over the wire."""

import json
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import cast

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource

from chatnode.contract.asyncapi import ACKED_FIELDS, asyncapi_document
from chatnode.contract.documents import FOLDER, documents
from chatnode.contract.openapi import OPERATIONS, openapi_document
from chatnode.contract.schemas import BODIES, COMMANDS, EVENTS, REPLIES, schema_document
from chatnode.protocol.codec import ServerFrame, encode_frame
from chatnode.protocol.frames import Command, Connect
from chatnode.settings import Settings
from chatnode.transports import demo, rest
from chatnode.transports.fallback import routes as fallback
from chatnode.transports.fallback.visit import FallbackServices
from tests.unit import protocol_strategies as given_

few = settings(max_examples=30)
"""Validating is slow, and one example in each form says most."""

SCHEMA = "https://chat.example/schema.json"


@pytest.mark.parametrize("name", sorted(documents()))
def test_the_documents_are_those_of_the_code(name: str) -> None:
    assert (FOLDER / name).read_text("utf-8") == documents()[name], "run: python -m chatnode.contract"


@pytest.mark.parametrize("name", sorted(documents()))
def test_the_documents_read_back_as_what_was_meant(name: str) -> None:
    made = {"schema.json": schema_document, "asyncapi.yaml": asyncapi_document, "openapi.yaml": openapi_document}[name]
    assert yaml.safe_load((FOLDER / name).read_text("utf-8")) == json.loads(json.dumps(made()))


# JSON Schemas.


@cache
def validator(definition: str) -> jsonschema.Draft202012Validator:
    registry = Registry().with_resource(SCHEMA, Resource.from_contents(schema_document())).crawl()
    return jsonschema.Draft202012Validator({"$ref": f"{SCHEMA}#/$defs/{definition}"}, registry=registry)


def allows(definition: str, frame: object) -> bool:
    return validator(definition).is_valid(frame)


def test_the_schemas_are_valid_schemas() -> None:
    jsonschema.Draft202012Validator.check_schema(schema_document())


@given(given_.commands)
@few
def test_every_command_fits_its_schema_and_no_other(command: Command) -> None:
    frame = json.loads(encode_frame(command))
    assert allows("Command", frame)
    assert allows(type(command).__name__, frame)


@given(given_.replies)
@few
def test_every_reply_fits_its_schema(frame: ServerFrame) -> None:
    assert allows("Reply", json.loads(encode_frame(frame)))


@given(given_.events)
@few
def test_every_event_fits_its_schema(frame: ServerFrame) -> None:
    assert allows("Event", json.loads(encode_frame(frame)))


@given(given_.commands)
@few
def test_a_command_with_an_unknown_field_does_not_fit(command: Command) -> None:
    assert not allows("Command", {**json.loads(encode_frame(command)), "more": 1})


@given(given_.commands, st.data())
@few
def test_a_command_without_a_field_that_it_needs_does_not_fit(command: Command, data: st.DataObject) -> None:
    frame = json.loads(encode_frame(command))
    required = [field.name for field in msgspec.structs.fields(command) if field.required]
    del frame[data.draw(st.sampled_from(["type", *required]))]
    assert not allows("Command", frame)


def test_every_type_of_the_wire_is_described_in_words_or_by_its_fields() -> None:
    definitions = cast("dict[str, dict[str, object]]", schema_document()["$defs"])
    assert {kind.__name__ for kind in (*COMMANDS, *REPLIES, *EVENTS, *BODIES)} <= set(definitions)
    assert "within 5 s" in str(definitions["Connect"]["description"])
    prev = cast("dict[str, dict[str, str]]", definitions["MessageEvent"]["properties"])["prev"]
    assert "0 for the first" in prev["description"]


# AsyncAPI.


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(document: object, reference: str) -> object:
    assert reference.startswith("#/"), reference
    for part in reference[2:].split("/"):
        assert isinstance(document, dict)
        assert part in document, f"{reference}: no {part}"
        document = document[part]
    return document


@pytest.mark.parametrize("make", [asyncapi_document, openapi_document, schema_document])
def test_every_reference_leads_somewhere(make: object) -> None:
    assert callable(make)
    document = make()
    found = set(references(document))
    assert found
    for reference in found:
        resolve(document, reference)


def test_the_socket_is_an_asyncapi_3_document() -> None:
    document = asyncapi_document()
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(cast("dict[str, object]", document["info"]))
    channels = cast("dict[str, dict[str, object]]", document["channels"])
    messages = cast("dict[str, object]", channels["socket"]["messages"])
    for name, operation in cast("dict[str, dict[str, object]]", document["operations"]).items():
        assert operation["action"] in ("send", "receive"), name
        assert operation["channel"] == {"$ref": "#/channels/socket"}
        reply = cast("dict[str, object]", operation.get("reply", {}))
        for reference in references([operation["messages"], reply.get("messages", [])]):
            assert reference.removeprefix("#/channels/socket/messages/") in messages


def test_every_frame_has_its_operation_and_every_command_its_reply() -> None:
    document = asyncapi_document()
    operations = cast("dict[str, dict[str, object]]", document["operations"])
    tags = {str(command.__struct_config__.tag) for command in COMMANDS}
    assert set(operations) == tags | {"events", "reconnect"}
    assert all("reply" in operations[tag] for tag in tags)
    assert set(ACKED_FIELDS) == set(COMMANDS) - {Connect}
    assert len(cast("list[object]", operations["events"]["messages"])) == len(EVENTS)


def test_the_fields_of_acks_are_fields_of_acks() -> None:
    definitions = cast("dict[str, dict[str, dict[str, object]]]", schema_document()["$defs"])
    for fields in ACKED_FIELDS.values():
        assert set(fields) <= set(definitions["Ack"]["properties"])


# OpenAPI.


def test_http_is_a_valid_openapi_document() -> None:
    OpenAPIV31SpecValidator(json.loads(json.dumps(openapi_document()))).validate()


def test_every_route_of_the_application_is_described_and_no_other() -> None:
    services = SimpleNamespace(**dict.fromkeys(rest.RestServices.__dataclass_fields__))
    local = Settings(local_mode=True, jwt_secret="x" * 32)
    routes = [
        *rest.routes(cast("rest.RestServices", services)),
        *fallback.routes(cast("FallbackServices", services)),
        *demo.routes(local, lambda: 0),
    ]
    served = {(method.lower(), route.path) for route in routes for method in route.methods or () if method != "HEAD"}
    assert {(operation.method, operation.path) for operation in OPERATIONS} == served
