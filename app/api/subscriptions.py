"""The doors to subscriptions and their deliveries."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from app.api import lists
from app.api.keys import GuardedRoute, TheCaller, TheService, requires
from app.api.lists import AFTER, ANY, BEFORE, ListQuery, Split
from app.api.problems import may_answer
from app.api.schemas import Moment, StorableText
from app.api.subscription_schemas import (
    AttemptOut,
    CountOut,
    DeliveryOut,
    DeliveryPage,
    EventType,
    NewSubscriptionOut,
    ReplayIn,
    SecretIn,
    SubscriptionIn,
    SubscriptionOut,
    SubscriptionPage,
    SubscriptionPatch,
)
from app.api.words import DeliveryStatus
from app.core.subscribers import attempt_json, delivery_json, subscription_json
from app.errors import NoSuchSubscription
from app.store.delivery_lists import DeliveryFilter
from app.tracking.subscriptions import NewSubscription, Replay

router = APIRouter(prefix="/v1", tags=["subscriptions"], route_class=GuardedRoute)
read, admin = requires("read"), requires("admin")


class OwnDeliveryQuery(ListQuery):
    """Filters of a subscription's deliveries. Sets are comma-separated."""

    status: Annotated[tuple[DeliveryStatus, ...], Split, Field(description=ANY)] = ()
    type: Annotated[tuple[EventType, ...], Split, Field(description=ANY)] = ()
    created_after: Annotated[Moment | None, Field(description=AFTER)] = None
    created_before: Annotated[Moment | None, Field(description=BEFORE)] = None


class DeliveryQuery(OwnDeliveryQuery):
    """Filters of GET /v1/deliveries."""

    subscription_id: Annotated[StorableText | None, Field(description="To this one alone.")] = None


SubscriptionId = Annotated[str, Path(pattern=r"^sub_[0-9a-f]{1,64}$", description="Of the subscription.")]
DeliveryId = Annotated[str, Path(description="Of the delivery.")]


@router.post(
    "/subscriptions",
    dependencies=[admin],
    status_code=201,
    summary="Subscribe",
    operation_id="createSubscription",
    openapi_extra=may_answer("name_conflict"),
    response_model_exclude_unset=True,
    responses={200: {"model": SubscriptionOut, "description": "It exists with these settings; without its secret."}},
)
async def create_subscription(
    body: SubscriptionIn, service: TheService, caller: TheCaller, response: Response
) -> NewSubscriptionOut:
    """Events from now on are sent to the address; earlier ones by `replay`. The secret is shown this once."""
    secret = body.secret.get_secret_value() if body.secret is not None else None
    wanted = NewSubscription(**body.model_dump(exclude={"secret"}), secret=secret)
    one, shown = await service.subscriptions.create(wanted, by=caller)
    response.status_code = 201 if shown else 200
    response.headers["Location"] = f"/v1/subscriptions/{one.subscription_id}"
    return NewSubscriptionOut(**subscription_json(one), **({"secret": shown} if shown else {}))


@router.get("/subscriptions", dependencies=[read], summary="List subscriptions", operation_id="listSubscriptions")
async def list_subscriptions(query: Annotated[ListQuery, Query()], service: TheService) -> SubscriptionPage:
    """By name."""
    query, place = lists.resume(query, lists.SUBSCRIPTION_PLACE)
    found = await service.subscriptions.page(after=place[1] if place else None, limit=query.limit + 1)
    page, more = found[: query.limit], len(found) > query.limit
    cursor = lists.next_cursor(query, ["subscription", page[-1].name]) if more else None
    return SubscriptionPage.model_validate({"items": [subscription_json(one) for one in page], "next_cursor": cursor})


@router.get(
    "/subscriptions/{subscription_id}",
    dependencies=[read],
    summary="A subscription",
    operation_id="getSubscription",
    openapi_extra=may_answer("not_found"),
)
async def get_subscription(subscription_id: SubscriptionId, service: TheService) -> SubscriptionOut:
    """Without its secret."""
    return SubscriptionOut(**subscription_json(await service.subscriptions.get(subscription_id)))


@router.patch(
    "/subscriptions/{subscription_id}",
    dependencies=[admin],
    summary="Change a subscription",
    operation_id="changeSubscription",
    openapi_extra=may_answer("not_found"),
)
async def change_subscription(
    subscription_id: SubscriptionId, body: SubscriptionPatch, service: TheService, caller: TheCaller
) -> SubscriptionOut:
    """Holds for deliveries that wait, too. While it is disabled nothing is queued for it, and what waits stays."""
    given = {name: getattr(body, name) for name in body.model_fields_set - {"enabled"}}
    if "types" in given:
        given["types"] = tuple(sorted(set(given["types"])))
    one = await service.subscriptions.change(subscription_id, given, enabled=body.enabled, by=caller)
    return SubscriptionOut(**subscription_json(one))


@router.delete(
    "/subscriptions/{subscription_id}",
    dependencies=[admin],
    status_code=204,
    summary="Unsubscribe",
    operation_id="deleteSubscription",
    openapi_extra=may_answer("not_found"),
)
async def delete_subscription(subscription_id: SubscriptionId, service: TheService, caller: TheCaller) -> None:
    """Cancels what waits for it."""
    await service.subscriptions.delete(subscription_id, by=caller)


@router.post(
    "/subscriptions/{subscription_id}/rotate-secret",
    dependencies=[admin],
    summary="Change the secret",
    operation_id="rotateSecret",
    openapi_extra=may_answer("not_found"),
)
async def rotate_secret(
    subscription_id: SubscriptionId, service: TheService, caller: TheCaller, body: SecretIn | None = None
) -> NewSubscriptionOut:
    """The one before signs beside it for 24 hours. The new one is shown this once."""
    given = body.secret.get_secret_value() if body and body.secret is not None else None
    one, secret = await service.subscriptions.rotate(subscription_id, given, by=caller)
    return NewSubscriptionOut(**subscription_json(one), secret=secret)


@router.post(
    "/subscriptions/{subscription_id}/ping",
    dependencies=[admin],
    summary="Try it",
    operation_id="pingSubscription",
    openapi_extra=may_answer("not_found"),
)
async def ping_subscription(subscription_id: SubscriptionId, service: TheService) -> AttemptOut:
    """Sends a signed `ping` at once, also while it is disabled; the attempt is the answer."""
    return AttemptOut.model_validate(attempt_json(await service.subscriptions.ping(subscription_id)))


@router.get(
    "/subscriptions/{subscription_id}/deliveries",
    dependencies=[admin],
    summary="A subscription's deliveries",
    operation_id="listSubscriptionDeliveries",
    openapi_extra=may_answer("not_found"),
)
async def list_own_deliveries(
    subscription_id: SubscriptionId, query: Annotated[OwnDeliveryQuery, Query()], service: TheService
) -> DeliveryPage:
    """Newest first."""
    await service.subscriptions.get(subscription_id)
    return await _deliveries(query, service, subscription_id)


@router.get("/deliveries", dependencies=[admin], summary="List deliveries", operation_id="listDeliveries")
async def list_deliveries(query: Annotated[DeliveryQuery, Query()], service: TheService) -> DeliveryPage:
    """Newest first, of all subscriptions, deleted ones included."""
    return await _deliveries(query, service)


async def _deliveries(query: OwnDeliveryQuery, service: TheService, of: str | None = None) -> DeliveryPage:
    query, place = lists.resume(query, lists.DELIVERY_PLACE)
    wanted = DeliveryFilter(**query.given() | ({"subscription_id": of} if of else {}))
    found = await service.subscriptions.deliveries(wanted, before=place[1] if place else None, limit=query.limit)
    cursor = lists.next_cursor(query, found.more and ("delivery", *found.more))
    return DeliveryPage.model_validate({"items": [delivery_json(one) for one in found.items], "next_cursor": cursor})


@router.post(
    "/subscriptions/{subscription_id}/deliveries/{delivery_id}/redeliver",
    dependencies=[admin],
    status_code=202,
    summary="Send it again",
    operation_id="redeliver",
    openapi_extra=may_answer("not_found"),
)
async def redeliver(
    subscription_id: SubscriptionId, delivery_id: DeliveryId, service: TheService, caller: TheCaller
) -> DeliveryOut:
    """At once, whatever became of it, with the same `webhook-id`; its schedule begins anew."""
    number = re.fullmatch(r"dlv_([1-9]\d{0,17})", delivery_id)
    if number is None:
        raise NoSuchSubscription(f"{subscription_id} has no such delivery")
    found = await service.subscriptions.redeliver(subscription_id, int(number[1]), by=caller)
    return DeliveryOut.model_validate(delivery_json(found))


@router.post(
    "/subscriptions/{subscription_id}/replay",
    dependencies=[admin],
    status_code=202,
    summary="Send past events",
    operation_id="replay",
    openapi_extra=may_answer("not_found"),
)
async def replay(subscription_id: SubscriptionId, body: ReplayIn, service: TheService, caller: TheCaller) -> CountOut:
    """With the same `webhook-id`s, behind live events. `undelivered`: those that never were, or were given up."""
    return CountOut(count=await service.subscriptions.replay(subscription_id, Replay(**dict(body)), by=caller))
