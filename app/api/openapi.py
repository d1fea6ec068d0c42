"""The API's description, finished: what the framework cannot know is added here, for all operations alike.

An operation says what is its own: summary, description, operationId, and its own problem codes by ``may_answer``. What
follows from its form is derived: the codes of a key, a body or parameters, the role it needs. Examples stand in
app.api.example_bodies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from app.api.example_bodies import ANSWERS, METRICS, REQUESTS, problem_example
from app.api.examples import EVENTS
from app.api.problems import ADVICE, CODES, STATUS_OF, TITLES
from app.api.webhook_description import webhooks
from app.settings import Role

Json = dict[str, Any]

OPEN_WITH_MORE = "readyz"
"""Answers anybody, but tells more to those with a key."""

REQUEST_ID = {"$ref": "#/components/headers/RequestId"}
LIMITS = {name: {"$ref": f"#/components/headers/{name.replace('-', '')}"} for name in ("RateLimit", "RateLimit-Policy")}


MADE = {"registerTask": "task_id", "createSubscription": "subscription_id"}
"""Whose answer holds the id of what was made, and the name under which others take it."""


def finish(document: Json, roles: Mapping[str, Role]) -> Json:
    """The framework's description of our routes, whole. ``roles``: what guarded operations need, by operationId."""
    document = _renamed(document)
    components: Json = document["components"]
    for of_the_framework in ("HTTPValidationError", "ValidationError"):  # ours are Problems
        del components["schemas"][of_the_framework]
    for schema in components["schemas"].values():
        _without_titles(schema)
        _maps(schema)
    components["schemas"]["Event"]["properties"]["data"] = {"$ref": "#/components/schemas/EventData"}
    components["headers"] = _headers()
    used: set[str] = set()
    for operation in operations(document):
        name = operation["operationId"]
        _parameters(operation)
        _key(operation, roles.get(name))
        codes = codes_of(operation, guarded=name in roles)
        operation[CODES] = codes
        _problems(operation, codes, components, LIMITS if name in roles else {})
        _examples(operation)
        used.update(codes)
    components["examples"] = {
        code: {"summary": TITLES[code], "value": problem_example(code)} for code in STATUS_OF if code in used
    }
    _links(document)
    document["webhooks"] = webhooks()
    return document


def operations(document: Json) -> Iterator[Json]:
    """Every operation of a description."""
    for path in document["paths"].values():
        yield from (operation for method, operation in path.items() if method != "parameters")


def codes_of(operation: Json, *, guarded: bool) -> list[str]:
    """The problem codes an operation can answer with: its own, and those of its form."""
    codes = {*operation.get(CODES, ()), "forbidden", "internal"}
    if guarded:
        codes |= {"unauthenticated", "unavailable", "rate_limited"}
    if operation.get("parameters") or (guarded and "requestBody" in operation):
        codes.add("invalid_request")
    if "requestBody" in operation:
        codes |= {"too_large", "unavailable"} | ({"unsupported_media_type"} if guarded else set())
    return sorted(codes, key=lambda code: (STATUS_OF[code], code))


# -- the parts of an operation


def _parameters(operation: Json) -> None:
    for one in operation.get("parameters", ()):
        schema = one["schema"]
        schema.pop("title", None)
        choices = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
        if len(choices) == 1:  # nobody can send null in a query
            schema |= choices[0]
        elif choices:
            schema["anyOf"] = choices
        if one["in"] == "query" and schema.get("type") == "array" and one["name"] != "label":
            one["explode"] = False  # a label's value may hold commas
        if "description" in schema:
            one["description"] = schema.pop("description")


def _key(operation: Json, role: Role | None) -> None:
    if role:
        operation["description"] += f"\n\nNeeds a key of the role `{role}`."
        operation["x-role"] = role
    elif operation["operationId"] == OPEN_WITH_MORE:
        operation["security"] = [{}, {"key": []}]
    else:
        operation["security"] = []


def _problems(operation: Json, codes: list[str], components: Json, limits: Json) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    for answer in answers.values():
        _meaning(answer, components["schemas"])
        answer["headers"] = {**answer.get("headers", {}), "X-Request-Id": REQUEST_ID, **limits}
    shared: Json = components.setdefault("responses", {})
    for status in sorted({STATUS_OF[code] for code in codes}):
        of_status = [code for code in codes if STATUS_OF[code] == status]
        name = "_or_".join(of_status)
        shared.setdefault(name, _problem(status, of_status))
        answers[str(status)] = {"$ref": f"#/components/responses/{name}"}


def _meaning(answer: Json, schemas: Json) -> None:
    """Instead of the framework's words: what the body is."""
    if answer["description"] == "Successful Response":
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        answer["description"] = schemas[name]["description"] if name else "Done."


def _problem(status: int, codes: list[str]) -> Json:
    headers: Json = {"X-Request-Id": REQUEST_ID}
    if status != 401:
        headers |= LIMITS
    else:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/Authenticate"}
    if status in (429, 503):
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return {
        "description": "\n\n".join(f"`{code}`: {TITLES[code]}. {ADVICE[code]}" for code in codes),
        "headers": headers,
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
            }
        },
    }


def _examples(operation: Json) -> None:
    name = operation["operationId"]
    if name in REQUESTS:
        operation["requestBody"]["content"]["application/json"]["example"] = REQUESTS[name]
    for status, body in ANSWERS.get(name, {}).items():
        operation["responses"][status]["content"]["application/json"]["example"] = body
    content = operation["responses"].get("200", {}).get("content", {})
    for media in content:
        if media.startswith("text/plain"):
            content[media] = {"schema": {"type": "string"}, "example": METRICS}
    if "text/event-stream" in content:
        content["text/event-stream"] = _stream()


def _links(document: Json) -> None:
    """From what makes a thing to all that needs no more than its id."""
    takers: dict[str, list[str]] = {}
    for operation in operations(document):
        needed = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"]
        takers.setdefault(",".join(needed), []).append(operation["operationId"])
    for operation in operations(document):
        made = MADE.get(operation["operationId"], "")
        for status in ("200", "201") if made else ():
            operation["responses"][status]["links"] = {
                name: {"operationId": name, "parameters": {made: f"$response.body#/{made}"}} for name in takers[made]
            }


def _stream() -> Json:
    """The form of a stream: text, whose `data` lines are events."""
    event = EVENTS["task.ended"]
    return {
        "schema": {
            "type": "string",
            "contentMediaType": "text/event-stream",
            "description": "`id` is the event's `seq`; `data` is an Event, as JSON on one line.",
            "x-event-data": {"$ref": "#/components/schemas/Event"},
        },
        "example": f"id: {event['seq']}\ndata: {json.dumps(event)}\n\n: \n\n",
    }


KNOWN = (
    "Of every answer to a request with a valid key, unless it was refused before the key was looked at. Syntax: IETF "
    "draft-ietf-httpapi-ratelimit-headers-10."
)


def _headers() -> Json:
    return {
        "RequestId": {
            "description": "Of this request: as you gave it (at most 64 characters), or made up. It stands in the log.",
            "required": True,
            "schema": {"type": "string"},
            "example": "5f49efa3c174cfb0",
        },
        "RetryAfter": {
            "description": "Seconds after which to try again.",
            "required": True,
            "schema": {"type": "integer"},
            "example": 5,
        },
        "RateLimit": {
            "description": "How many requests more (`r`) this key may send at once; all of them (`q`) again within `t` "
            f"seconds of rest. {KNOWN}",
            "schema": {"type": "string"},
            "example": '"default";r=187;t=1',
        },
        "RateLimitPolicy": {
            "description": f"How many requests (`q`) each key may send in `w` seconds to one process. {KNOWN}",
            "schema": {"type": "string"},
            "example": '"default";q=200;w=1',
        },
        "Authenticate": {"description": "`Bearer`.", "required": True, "schema": {"type": "string"}},
    }


# -- schemas


def _maps(schema: Json) -> None:
    """A map by its keys' pattern, which refuses other keys; the framework's words leave them open."""
    if "patternProperties" in schema:
        ((pattern, value),) = schema.pop("patternProperties").items()
        schema |= {"propertyNames": {"pattern": pattern}, "additionalProperties": value}
    for inner in schema.values():
        if isinstance(inner, dict):
            _maps(inner)


# -- names


def _renamed(document: Json) -> Json:
    """The schemas by names for readers: TaskOut is Task, TaskIn is TaskRequest."""
    names = {old: _name(old) for old in document["components"]["schemas"]}
    assert len(set(names.values())) == len(names), "two schemas would have one name"
    document["components"]["schemas"] = {names[old]: one for old, one in document["components"]["schemas"].items()}
    prefix = "#/components/schemas/"

    def rename(value: Any) -> Any:
        if isinstance(value, str) and value.startswith(prefix):
            return prefix + names.get(value.removeprefix(prefix), value.removeprefix(prefix))
        return value

    renamed: Json = _mapped(document, rename)
    return renamed


def _name(old: str) -> str:
    if old.endswith("In"):
        return old.removesuffix("In") + "Request"
    return old.removesuffix("Out")


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_mapped(inner, change) for inner in value]
    return change(value)


def _without_titles(schema: Json) -> None:
    """The framework's titles say the name again."""
    if isinstance(schema.get("title"), str):
        del schema["title"]
    for inner in schema.values():
        for one in inner if isinstance(inner, list) else [inner]:
            if isinstance(one, dict):
                _without_titles(one)
