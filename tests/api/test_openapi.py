"""The API's description: whole, true and committed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from jsonschema import Draft202012Validator

from app.api.example_bodies import ANSWERS, REQUESTS
from app.api.examples import EVENTS
from app.api.introduction import TAGS
from app.api.openapi import operations
from app.api.problems import STATUS_OF
from app.api.words import FeedType
from app.core.deliveries import EventType
from app.main import create_app, description
from app.wiring import Service, open_service
from tests.described import document
from tests.world import BARE, HandClock, MakeSettings, open_client

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "openapi.json"


def named() -> dict[str, dict[str, Any]]:
    return {operation["operationId"]: operation for operation in operations(document())}


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """Of a schema that stands in the description."""
    return Draft202012Validator({**schema, "components": document()["components"]})


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Bodies of an operation by where they stand and their media type; those of problems are shared."""
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield "request", media, content
    for status, answer in operation["responses"].items():
        for media, content in answer.get("content", {}).items():
            yield status, media, content


def enums(value: Any, place: str = "") -> Iterator[str]:
    """Where sets of words stand without a name."""
    if isinstance(value, dict):
        if len(value.get("enum", ())) > 1:
            yield place
        for key, inner in value.items():
            yield from enums(inner, f"{place}/{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from enums(inner, place)


def test_the_committed_description_is_that_of_the_code() -> None:
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert committed == document(), "run `make openapi`, look at what changed, and commit it"


def test_the_command_writes_it_with_the_servers_address(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("recording-status")
    environment = {
        **BARE,
        "PUBLIC_URL": "https://recordings.example",
        "API_CONTACT": "night-shift@recordings.example",
    }
    done = subprocess.run([program, "openapi"], cwd=tmp_path, env=environment, capture_output=True, check=True)
    written = json.loads(done.stdout)
    assert written["servers"][0]["url"] == "https://recordings.example"
    assert written["info"]["contact"]["email"] == "night-shift@recordings.example"
    assert {**written, "servers": document()["servers"], "info": document()["info"]} == document()
    assert done.stderr == b""


async def test_a_service_answers_it_with_its_own_address(settings: MakeSettings, clock: HandClock) -> None:
    public = settings(public_url="https://recordings.example", api_contact="https://wiki.example/recordings")
    async with open_service(public, clock=clock) as service, open_client(service) as client:
        served = (await client.get("/openapi.json")).json()
    assert served == description("https://recordings.example", "https://wiki.example/recordings")
    assert served["info"]["contact"]["url"] == "https://wiki.example/recordings"


def test_every_operation_says_what_it_does_and_under_which_name() -> None:
    names = [operation["operationId"] for operation in operations(document())]
    assert len(set(names)) == len(names)
    known = [tag["name"] for tag in TAGS]
    for name, operation in named().items():
        assert operation["summary"], name
        assert not [one for one in operation["responses"].values() if one.get("description") == "Successful Response"]
        assert len(operation["description"]) > len(operation["summary"]) / 2, name
        assert len(operation["tags"]) == 1, name
        assert operation["tags"][0] in known, name
    assert all(len(tag["description"]) > 10 for tag in TAGS)


def test_every_body_has_an_example_that_is_one() -> None:
    for name, operation in named().items():
        for place, media, content in contents(operation):
            assert "example" in content, (name, place)
            if media == "application/json":
                assert content["schema"], (name, place)
                faults = list(validator(content["schema"]).iter_errors(content["example"]))
                assert faults == [], (name, place)
    assert REQUESTS.keys() <= named().keys()
    assert ANSWERS.keys() <= named().keys()


def test_every_webhook_has_an_example_that_is_one_and_every_event_a_webhook() -> None:
    webhooks = document()["webhooks"]
    assert set(get_args(EventType)) == webhooks.keys() == EVENTS.keys()
    for name, path in webhooks.items():
        content = path["post"]["requestBody"]["content"]["application/json"]
        assert content["example"]["type"] == name
        assert list(validator(content["schema"]).iter_errors(content["example"])) == []
        headers = [one["name"] for one in path["post"]["parameters"]]
        assert headers == ["webhook-id", "webhook-timestamp", "webhook-signature"]


def test_what_makes_a_thing_tells_where_its_id_leads() -> None:
    for maker, made in (("registerTask", "task_id"), ("createSubscription", "subscription_id")):
        for status in ("200", "201"):
            links = named()[maker]["responses"][status]["links"]
            assert made in ANSWERS[maker][status]
            for link in links.values():
                needed = [one["name"] for one in named()[link["operationId"]]["parameters"] if one["in"] == "path"]
                assert link["parameters"] == {name: f"$response.body#/{name}" for name in needed} != {}
    assert {"getTask", "refreshTask"} <= named()["registerTask"]["responses"]["201"]["links"].keys()


def test_an_example_that_is_wrong_would_be_noticed() -> None:
    schema = named()["getTask"]["responses"]["200"]["content"]["application/json"]["schema"]
    example = ANSWERS["getTask"]["200"]
    wrong = [{**example, "status": "typo"}, {**example, "more": 1}, {**example, "files": [{}]}]
    assert all(list(validator(schema).iter_errors(one)) for one in wrong)


def test_every_problem_an_operation_tells_of_is_shown_with_its_body() -> None:
    components = document()["components"]
    for name, operation in named().items():
        told = set()
        for status, answer in operation["responses"].items():
            if reference := answer.get("$ref"):
                response = components["responses"][reference.rpartition("/")[2]]
                examples = response["content"]["application/problem+json"]["examples"]
                assert {str(STATUS_OF[code]) for code in examples} == {status}
                assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))
                told |= examples.keys()
        assert told == set(operation["x-problem-codes"]), name
    for code, example in components["examples"].items():
        assert list(validator(components["schemas"]["Problem"]).iter_errors(example["value"])) == []
        assert example["value"]["code"] == code


def test_every_field_and_parameter_is_described_and_every_set_of_words_has_a_name() -> None:
    described = document()
    for name, schema in described["components"]["schemas"].items():
        assert schema.get("description"), name
        for field, inner in schema.get("properties", {}).items():
            assert inner.get("description") or "$ref" in inner, (name, field)
            unit = {"_ms": "illisecond", "_seconds": "econds", "_size": "ytes", "_width": "ixels", "_height": "ixels"}
            for ending, word in unit.items():
                assert not field.endswith(ending) or word in inner["description"], (name, field)
    for name, operation in named().items():
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), (name, parameter["name"])
    inside = {name: one.get("properties", {}) for name, one in described["components"]["schemas"].items()}
    assert [*enums(described["paths"]), *enums(inside)] == []


def test_only_guarded_operations_ask_for_a_key(service: Service) -> None:
    for name, operation in named().items():
        guarded = "x-role" in operation
        assert operation["security"] == ([{"key": []}] if guarded else [{}, {"key": []}] if name == "readyz" else [])
        assert ("401" in operation["responses"]) == (guarded or name == "receiveCallback"), name
    assert [name for name, one in named().items() if "x-role" not in one] == ["receiveCallback", "livez", "readyz"]
    assert create_app(service).openapi() == document()


def test_the_words_of_the_feed_are_those_of_the_core() -> None:
    assert set(document()["components"]["schemas"]["FeedType"]["enum"]) == set(get_args(EventType))
    assert FeedType.__name__ == "FeedType"


@pytest.mark.parametrize("part", ["title", "version", "summary", "description", "contact", "license"])
def test_it_introduces_itself(part: str) -> None:
    assert document()["info"][part]


def test_a_map_refuses_keys_that_the_service_refuses() -> None:
    labels = document()["components"]["schemas"]["TaskRequest"]["properties"]["labels"]
    assert jsonschema.Draft202012Validator(labels).is_valid({"team": "support"})
    assert not jsonschema.Draft202012Validator(labels).is_valid({"Team": "support"})
    assert not jsonschema.Draft202012Validator(labels).is_valid({"team": 1})
