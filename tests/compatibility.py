"""Whether callers of one version of the API can work with another.

``python -m tests.compatibility`` compares docs/openapi.json with that of the last release (before the first: with the
first one committed), shows what may break a caller, and fails unless the unreleased part of CHANGELOG.md names each
broken thing, in backticks as it is printed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

ROOT = Path(__file__).parents[1]
FILE = "docs/openapi.json"


def breaks(old: Json, new: Json) -> list[tuple[str, str]]:
    """What may break a caller: the name of each thing, and what happened to it."""
    return list(dict.fromkeys([*_operations(old, new), *_schemas(old, new), *_webhooks(old, new)]))


def _operations(old: Json, new: Json) -> Iterator[tuple[str, str]]:
    for path, methods in old["paths"].items():
        for method, before in methods.items():
            name = f"{method.upper()} {path}"
            after = new["paths"].get(path, {}).get(method)
            if after is None:
                yield name, "is gone"
                continue
            if before["operationId"] != after["operationId"]:
                yield before["operationId"], f"is called {after['operationId']} now"
            yield from _operation(before["operationId"], before, after)


def _operation(name: str, before: Json, after: Json) -> Iterator[tuple[str, str]]:
    was, now = ({(one["in"], one["name"]): one for one in each.get("parameters", ())} for each in (before, after))
    for key in was.keys() - now.keys():
        yield f"{name}.{key[1]}", "this parameter is gone"
    for key, one in now.items():
        if one.get("required") and not was.get(key, {}).get("required"):
            yield f"{name}.{key[1]}", "this parameter is required now"
        if key in was:
            yield from _value(f"{name}.{key[1]}", was[key]["schema"], one["schema"], sent=True)
    for status in sorted(_good(before) - _good(after)):
        yield f"{name} {status}", "this answer is gone"
    for status in sorted(_good(before) & _good(after)):
        yield from _media(f"{name} {status}", before["responses"][status], after["responses"][status], sent=False)
    if "requestBody" in after:
        if "requestBody" not in before and after["requestBody"].get("required"):
            yield name, "a body is required now"
        yield from _media(name, before.get("requestBody", {}), after["requestBody"], sent=True)
    if before.get("x-role") != after.get("x-role"):
        yield name, f"needs the role {after.get('x-role')} instead of {before.get('x-role')}"


def _good(operation: Json) -> set[str]:
    return {status for status in operation["responses"] if status < "4"}


def _media(name: str, before: Json, after: Json, *, sent: bool) -> Iterator[tuple[str, str]]:
    for media, content in before.get("content", {}).items():
        if media not in after.get("content", {}):
            yield name, f"no {media} any more"
        else:
            yield from _value(name, content.get("schema", {}), after["content"][media].get("schema", {}), sent=sent)


def _schemas(old: Json, new: Json) -> Iterator[tuple[str, str]]:
    before, after = old["components"]["schemas"], new["components"]["schemas"]
    for name, schema in before.items():
        if name not in after:
            yield name, "is gone"
        else:
            yield from _value(name, schema, after[name], sent=name in _sent(new))


def _sent(document: Json) -> set[str]:
    """The schemas that callers send, directly or inside another."""
    found: set[str] = set()
    waiting = [json.dumps(one.get("requestBody", {})) + json.dumps(one.get("parameters", []))
               for path in document["paths"].values() for one in path.values()]  # fmt: skip
    while waiting:
        for name in re.findall(r"#/components/schemas/(\w+)", waiting.pop()):
            if name not in found:
                found.add(name)
                waiting.append(json.dumps(document["components"]["schemas"][name]))
    return found


def _value(name: str, before: Json, after: Json, *, sent: bool) -> Iterator[tuple[str, str]]:
    was, now = _types(before), _types(after)
    lost, gained = was - now, now - was
    if (lost if sent else gained) or (lost and gained):
        yield name, f"is {' or '.join(sorted(now))} instead of {' or '.join(sorted(was))}"
    for word in before.get("enum", ()):
        if word not in after.get("enum", [word]):
            yield f"{name}.{word}", "this word is gone"
    fields, kept = before.get("properties", {}), after.get("properties", {})
    for field, inner in fields.items():
        if field not in kept:
            yield f"{name}.{field}", "this field is gone"
        else:
            yield from _value(f"{name}.{field}", inner, kept[field], sent=sent)
    needed, given = set(after.get("required", ())), set(before.get("required", ()))
    if sent:
        yield from ((f"{name}.{field}", "this field is required now") for field in sorted(needed - given))
    else:
        yield from (
            (f"{name}.{field}", "this field may be missing now") for field in sorted((given - needed) & {*kept})
        )
    if "items" in before and "items" in after:
        yield from _value(f"{name}[]", before["items"], after["items"], sent=sent)
    if sent:
        yield from _narrower(name, before, after)


def _narrower(name: str, before: Json, after: Json) -> Iterator[tuple[str, str]]:
    for limit, sign in (("maxLength", 1), ("maxItems", 1), ("maximum", 1), ("minLength", -1), ("minItems", -1), ("minimum", -1)):  # fmt: skip # noqa: E501
        if limit in after and (limit not in before or sign * after[limit] < sign * before[limit]):
            yield name, f"{limit} is {after[limit]} now"
    if after.get("pattern", before.get("pattern")) != before.get("pattern"):
        yield name, "must match another pattern now"


def _types(schema: Json) -> set[str]:
    """The forms a value can have."""
    if "anyOf" in schema:
        return {kind for choice in schema["anyOf"] for kind in _types(choice)}
    return {str(schema.get("$ref", "")).rpartition("/")[2] or str(schema.get("type", "anything"))}


def _webhooks(old: Json, new: Json) -> Iterator[tuple[str, str]]:
    for name in old.get("webhooks", {}):
        if name not in new.get("webhooks", {}):
            yield name, "this webhook is gone"


# -- against the repository


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def base() -> str | None:
    """The commit to compare with: the last release that has a description, or the first commit that has one."""
    for tag in _git("tag", "--merged", "HEAD", "--sort=-creatordate").splitlines():
        if _git("ls-tree", tag, FILE):
            return tag
    return next(iter(_git("log", "--reverse", "--format=%H", "--diff-filter=A", "--", FILE).splitlines()), None)


def unreleased(changelog: str) -> str:
    """What the changelog says of the version to come."""
    return (re.search(r"^## \[Unreleased\](.*?)(?=^## |\Z)", changelog, re.DOTALL | re.MULTILINE) or [""])[0]


def main() -> int:
    commit = base()
    if commit is None:
        sys.stdout.write("NOT COMPARED: no earlier docs/openapi.json is in this clone's history\n")
        return 0
    new = json.loads((ROOT / FILE).read_text(encoding="utf-8"))
    told = unreleased((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    found = breaks(json.loads(_git("show", f"{commit}:{FILE}")), new)
    for name, what in found:
        sys.stdout.write(f"{'told in CHANGELOG' if f'`{name}`' in told else 'INCOMPATIBLE'}: `{name}` {what}\n")
    sys.stdout.write(f"compared with {commit[:12]}: {len(found)} changes that may break a caller\n")
    return int(any(f"`{name}`" not in told for name, _ in found))


if __name__ == "__main__":
    sys.exit(main())
