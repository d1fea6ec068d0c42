"""What schemathesis cannot know of our API, and checks of ours: nothing is stored after a refusal or by a reading, and
what the description allows is refused for known reasons alone."""

from __future__ import annotations

from itertools import count
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, GenerationMode, HookContext, Response
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase

from tests.fuzz.world import Fuzzed, Watch
from tests.world import APP


class Here:
    """The service that is being fuzzed, and who watches what it stores; the program sets them."""

    served: Fuzzed
    watch: Watch
    requests = 0
    numbers = count()


NOT_STORABLE = "holds a character that cannot be stored"
"""NUL and lone surrogates are refused in every text; the description says it once, in words."""

NO_SCHEMA_TELLS = {
    "registerTask": ("lies more than 5 minutes in the future", "16 is the most"),
    "patchTask": ("16 is the most",),  # after merging
    "switchApp": ("the provider allows this app",),
    "replay": ("the subscription is disabled",),
}
"""Why the service refuses what its description allows: all of it, by operationId."""


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """What no schema can say: for requests that are meant to be good, and for URLs that no server reads."""
    Here.requests += 1
    if isinstance(case.query, dict):
        case.query = {name: value[:5000] if isinstance(value, str) else value for name, value in case.query.items()}
    if case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
        name = _name(case)
        if isinstance(case.body, dict):
            case.body = _good_body(name, case.body)
        if isinstance(case.query, dict):
            case.query = _good_query(name, case.query)
        if name == "redeliver" and case.meta.phase.name is not TestPhase.STATEFUL:
            subscription_id, delivery_id = Here.served.delivery
            case.path_parameters = {"subscription_id": subscription_id, "delivery_id": delivery_id}


def _good_body(name: str, body: dict[str, Any]) -> dict[str, Any]:
    if name == "receiveCallback":
        return {**body, **Here.served.signed(next(Here.numbers))}
    if isinstance(body.get("url"), str):  # nothing is looked up or sent outside
        body = {**body, "url": f"{Here.served.url}/livez"}
    if isinstance(
        body.get("app_id"), (int, float)
    ):  # of those that are configured; and for the tool 2**63 + 1 is 2**63
        body = {**body, "app_id": APP}
    return body


def _good_query(name: str, query: dict[str, Any]) -> dict[str, Any]:
    # A set without members would be the empty word; a cursor is opaque (tests/api/test_lists.py follows those we give).
    query = {key: value for key, value in query.items() if key != "cursor" and value not in ("", [], [""])}
    if name == "getTask" and ("until" in query or "version" in query):
        query = {"wait": 1, **query}
        if "until" in query:
            query.pop("version", None)
    if query.get("include") == "files":
        query.pop("limit", None)
    return query


@schemathesis.check
def nothing_is_stored_by_what_is_refused_or_only_read(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    Here.watch.after(case.method, case.path, response.status_code)


@schemathesis.check
def what_is_allowed_is_refused_for_known_reasons(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    if response.status_code != 422 or case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    told = response.json()
    reasons = (NOT_STORABLE, *NO_SCHEMA_TELLS.get(_name(case), ()))
    for detail in [fault["detail"] for fault in told["errors"]] or [told["detail"]]:
        assert any(reason in detail for reason in reasons), f"refused, though the description allows it: {detail}"


@schemathesis.check
def a_fault_of_an_item_is_told(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """Of a batch, whose answer is 200 all the same."""
    part = case.meta.components.get(ParameterLocation.BODY) if case.meta is not None else None
    if _name(case) != "registerTasks" or response.status_code != 200 or part is None:
        return
    if part.mode is GenerationMode.NEGATIVE:
        assert response.json()["invalid"] > 0, "a faulty batch was taken as a whole"


def _name(case: Case[Any]) -> str:
    return str(case.operation.definition.raw["operationId"])
