"""Manifests that somebody else wrote: a sealed worker's answer, before anything relies on it.

Nothing is taken for granted: size and nesting are looked at first, then every name, shape, number and validator. What comes
out is a `Manifest` that is as good as one made here.

Start at `parse_manifest`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import orjson

from interlock.errors import MountError, ValueRefused
from interlock.limits import LIMITS, Limits
from interlock.mounting.manifest import FORMAT, TEXT_MAX, Manifest, check_manifest, is_schedule, is_timezone
from interlock.mounting.permissions import is_permission
from interlock.sdk.assembly import EVERY_MIN, METHODS
from interlock.sdk.declarations import (
    CatchUp,
    CronDeclaration,
    FunctionDeclaration,
    Isolation,
    Mount,
    RouteDeclaration,
    TableDeclaration,
    TriggerDeclaration,
)
from interlock.sdk.env import EnvReference, EnvValue, Secret
from interlock.sdk.host import Kind
from interlock.values import from_wire, is_identifier, is_subset, may_have_path, parse_validator

Json = dict[str, Any]
T = TypeVar("T")

BYTES_MAX = 4 * 1024 * 1024
ENTRIES_MAX = 1_000
NESTING_MAX = 80

_PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")


def parse_manifest(data: bytes, *, where: str) -> Manifest:
    """The manifest in these bytes. Raises MountError at `where` for anything that is not exactly one."""
    if len(data) > BYTES_MAX:
        raise MountError(where, f"the manifest is not valid: it has {len(data):,} bytes; at most {BYTES_MAX:,} are allowed.")
    try:
        parsed = orjson.loads(data)
    except ValueError as error:
        raise MountError(where, f"the manifest is not valid: {error}.") from None
    return manifest_from_json(parsed, where=where)


def manifest_from_json(data: object, *, where: str) -> Manifest:
    """The same of JSON that is parsed already."""
    try:
        manifest = _manifest(data)
    except _Refused as refused:
        problem = f"the manifest is not valid: {refused.path or 'it'} {refused.reason}."
        raise MountError(where, problem, "The component is broken, or made for another version of Interlock.") from None
    check_manifest(manifest, where=where)
    return manifest


class _Refused(Exception):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason


def _manifest(data: object) -> Manifest:
    if _nesting(data) > NESTING_MAX:
        raise _Refused("", f"is nested deeper than {NESTING_MAX} levels")
    items = _object(
        data,
        "",
        "format name version interlock tables strict functions triggers crons children env permissions http_routes",
    )
    if type(items["format"]) is not int or items["format"] != FORMAT:
        raise _Refused("format", f"is {_shown(items['format'])}; this version of Interlock reads {FORMAT}")
    manifest = Manifest(
        name=_identifier(items["name"], "name"),
        version=_line(items["version"], "version", 100),
        interlock=_line(items["interlock"], "interlock", 1_000),
        tables=_mapping(items["tables"], "tables", _table_name, _table, int(LIMITS["tables"].value)),
        strict=_bool(items["strict"], "strict"),
        functions=_mapping(items["functions"], "functions", _identifier, _function),
        triggers=_list(items["triggers"], "triggers", _trigger),
        crons=_list(items["crons"], "crons", _cron),
        children=_list(items["children"], "children", _mount),
        env=_mapping(items["env"], "env", _env_name, _env_validator),
        permissions=_list(items["permissions"], "permissions", _permission),
        http_routes=_list(items["http_routes"], "http_routes", _route),
    )
    for name, function in manifest.functions.items():
        if function.name != name:
            raise _Refused(f"functions.{name}.name", f"is {_shown(function.name)}")
    _unique([cron.name for cron in manifest.crons], "crons")
    _unique([mount.name for mount in manifest.children], "children")
    _unique([f"{route.method} {route.path}" for route in manifest.http_routes], "http_routes")
    return manifest


def _nesting(data: object) -> int:
    """How deep `data` is nested, without recursion."""
    depth, level = 0, [data]
    while level:
        depth += 1
        if depth > NESTING_MAX:
            break
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        level = below
    return depth


def _table(data: object, path: str) -> TableDeclaration:
    items = _object(data, path, "validator indexes staged")
    validator = _validator(items["validator"], f"{path}.validator")
    members = validator["value"] if validator["type"] == "union" else [validator]
    for member in members:
        if member["type"] not in ("object", "any"):
            raise _Refused(f"{path}.validator", f"is of type {member['type']}; documents are objects")
        for name in member.get("value", ()):
            if not is_identifier(name) or name.startswith("_"):
                raise _Refused(f"{path}.validator", f"has the field {_shown(name)}, which no document may have")
    indexes = _mapping(items["indexes"], f"{path}.indexes", _index_name, _index_fields, int(LIMITS["indexes_per_table"].value))
    for name, fields in indexes.items():
        for dotted in fields:
            if not may_have_path(validator, dotted):
                raise _Refused(f"{path}.indexes.{name}", f"names the field {_shown(dotted)}, which no document can have")
    staged = _list(items["staged"], f"{path}.staged", _table_name, int(LIMITS["indexes_per_table"].value))
    _unique(staged, f"{path}.staged")
    for name in staged:
        if name not in indexes:
            raise _Refused(f"{path}.staged", f"names {_shown(name)}, which is none of its indexes")
    return TableDeclaration(validator, indexes, staged)


def _index_name(data: object, path: str) -> str:
    name = _table_name(data, path)
    if name in ("by_id", "by_creation_time"):
        raise _Refused(f"{path}.{name}", "exists by itself")
    return name


def _index_fields(data: object, path: str) -> tuple[str, ...]:
    fields = _list(data, path, _dotted, int(LIMITS["index_fields"].value))
    if not fields:
        raise _Refused(path, "has no fields")
    _unique(fields, path)
    return fields


def _dotted(data: object, path: str) -> str:
    text = _text(data, path, 1_024)
    if not text or text.startswith("_") or not all(part and part.isascii() and part.isprintable() for part in text.split(".")):
        raise _Refused(path, f"is {_shown(text)}, which is no path of fields")
    return text


def _function(data: object, path: str) -> FunctionDeclaration:
    items = _object(data, path, "name kind internal args returns rest doc plain")
    args = _validator(items["args"], f"{path}.args")
    if args["type"] != "object":
        raise _Refused(f"{path}.args", "is no object validator")
    return FunctionDeclaration(
        name=_identifier(items["name"], f"{path}.name"),
        kind=_one_of(items["kind"], f"{path}.kind", get_args(Kind)),
        internal=_bool(items["internal"], f"{path}.internal"),
        args=args,
        returns=_validator(items["returns"], f"{path}.returns"),
        rest=_bool(items["rest"], f"{path}.rest"),
        doc=_text(items["doc"], f"{path}.doc", TEXT_MAX),
        plain=_bool(items["plain"], f"{path}.plain"),
    )


def _trigger(data: object, path: str) -> TriggerDeclaration:
    items = _object(data, path, "table takes_list")
    return TriggerDeclaration(_table_name(items["table"], f"{path}.table"), _bool(items["takes_list"], f"{path}.takes_list"))


def _cron(data: object, path: str) -> CronDeclaration:
    items = _object(data, path, "name every cron timezone catch_up args function mount")
    every, expression = items["every"], items["cron"]
    if (every is None) == (expression is None):
        raise _Refused(path, "needs one of every and cron")
    if every is not None and (isinstance(every, bool) or not isinstance(every, int | float) or not EVERY_MIN <= every < 1e12):
        raise _Refused(f"{path}.every", f"is {_shown(every)}, which is no number of seconds")
    if expression is not None and not is_schedule(_text(expression, f"{path}.cron", 200)):
        raise _Refused(f"{path}.cron", f"is {_shown(expression)}, which is no cron expression of five fields")
    timezone = _text(items["timezone"], f"{path}.timezone", 100)
    if not is_timezone(timezone):
        raise _Refused(f"{path}.timezone", f"is {_shown(timezone)}, which is not known here")
    try:
        args = from_wire(items["args"])
    except ValueRefused as refused:
        raise _Refused(f"{path}.args", f"is no value ({refused})") from None
    if not isinstance(args, dict):
        raise _Refused(f"{path}.args", "is no object")
    name = _text(items["name"], f"{path}.name", 256)
    if not name or not name.isascii() or not name.isprintable():
        raise _Refused(f"{path}.name", f"is {_shown(name)}, which is no name")
    catch_up: CatchUp = _one_of(items["catch_up"], f"{path}.catch_up", get_args(CatchUp))
    return CronDeclaration(
        name=name,
        every=None if every is None else float(every),
        cron=expression,
        timezone=timezone,
        catch_up=catch_up,
        args=args,
        function=_identifier(items["function"], f"{path}.function"),
        mount=_identifier(items["mount"], f"{path}.mount") if items["mount"] else "",
    )


def _mount(data: object, path: str) -> Mount:
    items = _object(data, path, "component local name isolation env allow http_prefix workers limits was where")
    component = _text(items["component"], f"{path}.component", 256)
    if items["local"] is not False:
        component = _text(items["local"], f"{path}.local", 512)
        if not _PLACE.fullmatch(component):
            raise _Refused(f"{path}.local", f"is {_shown(component)}; an object of the component's own is module:name, any other is false")
    if not component or not component.isprintable():
        raise _Refused(f"{path}.component", f"is {_shown(component)}, which is no entry point's name")
    isolation: Isolation = _one_of(items["isolation"], f"{path}.isolation", get_args(Isolation))
    workers = items["workers"]
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= ENTRIES_MAX:
        raise _Refused(f"{path}.workers", f"is {_shown(workers)}")
    prefix = None if items["http_prefix"] is None else _text(items["http_prefix"], f"{path}.http_prefix", 256)
    if prefix is not None and not prefix.startswith("/"):
        raise _Refused(f"{path}.http_prefix", f"is {_shown(prefix)}; it begins with a slash")
    return Mount(
        component=component,
        name=_table_name(items["name"], f"{path}.name"),
        isolation=isolation,
        env=_mapping(items["env"], f"{path}.env", _env_name, _env_value),
        allow=_list(items["allow"], f"{path}.allow", _permission),
        http_prefix=prefix,
        workers=workers,
        limits=None if items["limits"] is None else _limits(items["limits"], f"{path}.limits"),
        was=None if items["was"] is None else _identifier(items["was"], f"{path}.was"),
        where=_line(items["where"], f"{path}.where", 256),
    )


def _limits(data: object, path: str) -> Limits:
    names = set(Limits.__dataclass_fields__)
    if not isinstance(data, dict) or not data.keys() <= names:
        raise _Refused(path, f"is no object with names of {', '.join(sorted(names))}")
    for name, value in data.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
            raise _Refused(f"{path}.{name}", f"is {_shown(value)}")
    return Limits(**data)


def _env_validator(data: object, path: str) -> Json:
    validator = _validator(data, path)
    members = validator["value"] if validator["type"] == "union" else [validator]
    texts = [is_subset(member, {"type": "string"}) for member in members]
    if not any(texts) or not all(text or member["type"] == "null" for text, member in zip(texts, members, strict=True)):
        raise _Refused(path, "is no validator of a variable: str, literals of strings, or one of them and null")
    return validator


def _env_value(data: object, path: str) -> EnvValue:
    if isinstance(data, dict) and len(data) == 1:
        (form, inner), *_ = data.items()
        if form == "literal":
            return _text(inner, path, TEXT_MAX)
        if form == "reference":
            return EnvReference(_env_name(inner, path))
        if form == "secret":
            value = _env_value(inner, path)
            if not isinstance(value, Secret):
                return Secret(value)
    raise _Refused(path, f"is {_shown(data)}, which binds nothing")


def _env_name(data: object, path: str) -> str:
    if not isinstance(data, str) or not _ENV_NAME.fullmatch(data):
        raise _Refused(path, f"has {_shown(data)}, which is no variable's name")
    return data


def _permission(data: object, path: str) -> str:
    if not isinstance(data, str) or not is_permission(data):
        raise _Refused(path, f'is {_shown(data)}; a permission is "net:host", "http", "files" or "native"')
    return data


def _route(data: object, path: str) -> RouteDeclaration:
    items = _object(data, path, "method path handler")
    route = _text(items["path"], f"{path}.path", 1_024)
    if not route.startswith("/") or not route.isprintable():
        raise _Refused(f"{path}.path", f"is {_shown(route)}; it begins with a slash")
    return RouteDeclaration(_one_of(items["method"], f"{path}.method", METHODS), route, _text(items["handler"], f"{path}.handler", 256))


def _validator(data: object, path: str) -> Json:
    try:
        return parse_validator(data, where=path)
    except TypeError as error:
        raise _Refused(path, f"is no validator ({error})") from None


def _object(data: object, path: str, names: str) -> dict[str, Any]:
    expected = names.split()
    if not isinstance(data, dict) or data.keys() != set(expected):
        got = ", ".join(map(_shown, data))[:200] if isinstance(data, dict) else _shown(data)
        raise _Refused(path, f"must be an object of exactly {', '.join(expected)}, not of {got or 'nothing'}")
    return data


def _mapping(
    data: object, path: str, key: Callable[[object, str], str], value: Callable[[object, str], T], maximum: int = ENTRIES_MAX
) -> dict[str, T]:
    if not isinstance(data, dict):
        raise _Refused(path, "is no object")
    if len(data) > maximum:
        raise _Refused(path, f"has {len(data):,} entries; at most {maximum:,} are allowed")
    return {key(name, path): value(item, f"{path}.{name}") for name, item in data.items()}


def _list(data: object, path: str, item: Callable[[object, str], T], maximum: int = ENTRIES_MAX) -> tuple[T, ...]:
    if not isinstance(data, list):
        raise _Refused(path, "is no list")
    if len(data) > maximum:
        raise _Refused(path, f"has {len(data):,} entries; at most {maximum:,} are allowed")
    return tuple(item(one, f"{path}[{at}]") for at, one in enumerate(data))


def _unique(names: list[str] | tuple[str, ...], path: str) -> None:
    twice = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if twice is not None:
        raise _Refused(path, f"has {_shown(twice)} twice")


def _identifier(data: object, path: str) -> str:
    if not isinstance(data, str) or not is_identifier(data):
        raise _Refused(path, f"has {_shown(data)}, which is no identifier")
    return data


def _table_name(data: object, path: str) -> str:
    name = _identifier(data, path)
    if name.startswith("_"):
        raise _Refused(path, f"has {_shown(name)}; names that begin with an underscore are the system's")
    return name


def _text(data: object, path: str, longest: int) -> str:
    if not isinstance(data, str) or len(data) > longest:
        raise _Refused(path, f"is no text of at most {longest:,} characters")
    return data


def _line(data: object, path: str, longest: int) -> str:
    """A text that is printed as it is, to terminals too: what would do something there is left out."""
    return "".join(char for char in _text(data, path, longest) if char.isprintable())


def _bool(data: object, path: str) -> bool:
    if not isinstance(data, bool):
        raise _Refused(path, "is neither true nor false")
    return data


def _one_of(data: object, path: str, allowed: tuple[str, ...]) -> Any:
    if data not in allowed:
        raise _Refused(path, f"is {_shown(data)}, not one of {', '.join(allowed)}")
    return data


def _shown(data: object) -> str:
    """A piece of foreign data in a message: short, and without control characters."""
    try:
        text = json.dumps(data)
    except (TypeError, ValueError, RecursionError):
        text = repr(type(data))
    return text if len(text) <= 80 else f"{text[:77]}…"
