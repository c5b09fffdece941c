"""Instances as calls see them: which functions there are, under which names, with which arguments and results.

A `Scope` is an instance, a `Callee` a function of it that is ready to be called: its validators are compiled when it is
called for the first time, and then kept. A `Directory` is all scopes of one tree.

Start at `Directory.find` (callers from outside) and `Scope.resolve` (a running function).
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from interlock.errors import ArgumentError, FunctionNotFound, LimitExceeded, ReturnError, ValueRefused
from interlock.limits import LIMITS, Limits
from interlock.mounting import Instance, Tree
from interlock.mounting.names import ArgumentNames, FunctionNames, canonical
from interlock.mounting.sealing import plan_of
from interlock.sdk.conversion import lower
from interlock.sdk.declarations import FunctionDeclaration, RouteDeclaration
from interlock.sdk.functions import Function
from interlock.sdk.host import FunctionInfo, Kind
from interlock.sdk.query import Query
from interlock.sdk.route import RouteFunction, route_declaration
from interlock.values import UNSET, CommitTimestamp, Int64, Mismatch, compile_validator, normalize, size_of

if TYPE_CHECKING:
    from interlock.functions.runner import Runner
    from interlock.functions.told import ToldScan

Json = dict[str, Any]
Handler = Callable[..., Any]
TableNumber = Callable[[str], int | None]

_ARGUMENT_BYTES: Final = int(LIMITS["argument_bytes"].value)
_RESULT_BYTES: Final = int(LIMITS["result_bytes"].value)
_KEY_BYTES: Final = int(LIMITS["nested_key"].value) + 1
_SHARE_OF_MEMORY = 32
_HTTP_BYTES = int(LIMITS["http_message"].value)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_ANY: Json = {"type": "any"}
_SHORT: Final = 100_000
_FEW: Final = 32
_TINY: Final = 1_000


class Callee:
    """One function of one instance. `label` names it in errors and logs: `guesses:submit`, `leaderboard/insert`."""

    __slots__ = (
        "_arguments",
        "_check_args",
        "_check_result",
        "_names",
        "declaration",
        "handler",
        "info",
        "internal",
        "is_trigger",
        "kind",
        "label",
        "lower_result",
        "makes_arguments",
        "name",
        "ordinal",
        "scope",
    )

    def __init__(
        self,
        scope: Scope,
        declaration: FunctionDeclaration,
        function: Function[..., Any] | None = None,
        *,
        handler: Handler | None = None,
        ordinal: int = 0,
        is_trigger: bool = False,
    ) -> None:
        self.scope, self.declaration = scope, declaration
        self.name, self.internal = declaration.name, declaration.internal
        self.kind: Kind = declaration.kind
        self.label = f"{scope.path}/{declaration.name}" if scope.path else declaration.name
        self.info = FunctionInfo(declaration.name, declaration.kind, scope.path)
        self.handler = function.handler if function is not None else handler
        self.makes_arguments = function.arguments if function is not None and function.makes_instances else None
        self.lower_result: Callable[[Any], Any] = function.result if function is not None else lower
        self.is_trigger, self.ordinal = is_trigger, ordinal
        self._names: ArgumentNames | None = None
        self._arguments: frozenset[str] = frozenset(declaration.args.get("value", ()))
        self._check_args: Callable[[Any], Any] | None = None
        self._check_result: Callable[[Any], Any] | None = None

    def rename_args(self, args: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arguments in the spelling that was declared, from callers that write camelCase."""
        names = self._names
        if names is None:
            names = self._names = ArgumentNames(self.label, self._arguments)
        return names.rename(args) if names.differ else args

    def check_args(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """A fresh, validated copy of the arguments. Raises ArgumentError."""
        if not _is_small(args) and (size := _size(args)) > _ARGUMENT_BYTES:
            raise LimitExceeded("argument_bytes", size, _ARGUMENT_BYTES)
        check = self._check_args
        if check is None:
            check = self._check_args = self._compile_args()
        plain = args if type(args) is dict else dict(args)
        try:
            try:
                checked: dict[str, Any] = check(plain)
            except Mismatch:
                # Callers in Python may pass instances of the classes that the annotations name.
                if (lowered := lower(plain)) is plain:
                    raise
                checked = check(lowered)
            return checked
        except Mismatch as mismatch:
            raise ArgumentError(self.label, mismatch.path, mismatch.expected, mismatch.got) from None
        except ValueRefused as refused:
            raise ArgumentError(self.label, refused.path, "a value that can be stored and sent", refused.reason) from None

    def check_result(self, result: Any) -> Any:
        """A fresh, validated copy of the result. Raises ReturnError."""
        if result is UNSET:
            result = None
        check = self._check_result
        if check is None:
            check = self._check_result = compile_validator(self.declaration.returns, self.scope.table_number)
        try:
            checked = check(result)
        except Mismatch as mismatch:
            got = "something that was not awaited: write `await` in front of it" if _is_unawaited(result) else mismatch.got
            raise ReturnError(self.label, mismatch.path, mismatch.expected, got) from None
        except ValueRefused as refused:
            raise ReturnError(self.label, refused.path, "a value that can be stored and sent", refused.reason) from None
        if type(checked) in _CONTAINERS and _most(checked) > _RESULT_BYTES and (size := _size(checked)) > _RESULT_BYTES:
            raise LimitExceeded("result_bytes", size, _RESULT_BYTES)
        return checked

    def id_tables(self) -> set[str]:
        """The tables whose ids its arguments name: whether they are there decides what is a valid argument."""
        return set(_id_tables(self.declaration.args))

    def _compile_args(self) -> Callable[[Any], Any]:
        declared = compile_validator(self.declaration.args, self.scope.table_number)
        if not self.declaration.rest:
            return declared
        names = self._arguments

        def check(args: dict[str, Any]) -> dict[str, Any]:
            rest = normalize({name: value for name, value in args.items() if name not in names})
            return {**declared({name: value for name, value in args.items() if name in names}), **rest}

        return check


class RouteCallee(Callee):
    """The handler of an HTTP route. Its argument comes from the server; its result is checked as what it is, a response."""

    __slots__ = ()

    @property
    def body_max(self) -> int:
        """Bytes that the body of a request may have: a long one would use up the memory of a worker, where it lies several times."""
        instance = self.scope.instance
        if instance.source is None:
            return _HTTP_BYTES
        memory = plan_of(instance.isolation, instance.path or instance.name, instance.limits, instance.source).memory
        return _HTTP_BYTES if memory is None else min(_HTTP_BYTES, memory // _SHARE_OF_MEMORY)

    def check_args(self, args: Mapping[str, Any]) -> dict[str, Any]:
        return dict(args)

    def check_result(self, result: Any) -> Any:
        if type(result) is not dict or result.keys() != {"status", "headers", "body"}:
            raise ReturnError(self.label, "", "a response", f"a {type(result).__name__}")
        status, headers, body = result["status"], result["headers"], result["body"]
        if type(status) is Int64:
            status = result["status"] = int(status)
        if type(status) is not int or not 200 <= status <= 599:
            raise ReturnError(self.label, ".status", "a whole number from 200 to 599", repr(status)[:100])
        if type(body) is not bytes:
            raise ReturnError(self.label, ".body", "bytes or text", f"a {type(body).__name__}")
        if len(body) > _HTTP_BYTES:
            raise LimitExceeded("http_message", len(body), _HTTP_BYTES)
        if type(headers) is not list:
            raise ReturnError(self.label, ".headers", "a mapping of names to texts", f"a {type(headers).__name__}")
        for pair in headers:
            if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not str or type(pair[1]) is not str:
                raise ReturnError(self.label, ".headers", "a mapping of names to texts", repr(pair)[:100])
            if not _HEADER_NAME.fullmatch(pair[0]):
                raise ReturnError(self.label, ".headers", "names that HTTP knows as such", repr(pair[0])[:100])
            if not _HEADER_VALUE.fullmatch(pair[1]):
                raise ReturnError(self.label, f".headers[{pair[0]!r}]", "one line of Latin-1", repr(pair[1])[:100])
        return result


def _is_unawaited(result: Any) -> bool:
    if isinstance(result, CoroutineType):
        result.close()
        return True
    return isinstance(result, Query) or hasattr(result, "__await__")


_CONTAINERS: Final = frozenset({dict, list, str, bytes})


def _is_small(args: Mapping[str, Any]) -> bool:
    """Whether it surely is below every limit on sizes, told without walking it."""
    fields: dict[str, Any] = args if type(args) is dict else dict(args)
    if len(fields) > _FEW:
        return False
    for value in fields.values():
        kind = type(value)
        if (kind is str or kind is bytes) and len(value) > _SHORT:
            return False
        if kind is list or kind is tuple or (kind is dict and not _is_tiny(value)):
            return False
    return True


def _is_tiny(fields: dict[Any, Any]) -> bool:
    """Whether an object has few fields, with short names and short plain values."""
    if len(fields) > _FEW:
        return False
    for name, value in fields.items():
        if type(name) is not str or len(name) > _TINY:
            return False
        kind = type(value)
        if (kind is str or kind is bytes) and len(value) > _TINY:
            return False
        if kind is dict or kind is list or kind is tuple:
            return False
    return True


def _most(value: Any) -> int:
    """What the size of a checked value is at most, told without looking into its texts and keys."""
    kind = type(value)
    if kind is str:
        return 2 + 4 * len(value)
    if kind is bytes:
        return 2 + len(value)
    if kind is dict:
        fields: dict[str, Any] = value
        most = 2 + _KEY_BYTES * len(fields)
        for item in fields.values():
            if type(item) is str:
                text: str = item
                most += 2 + 4 * len(text)
            else:
                most += _most(item)
        return most
    if kind is list:
        items: list[Any] = value
        most = 2
        for item in items:
            most += _most(item)
        return most
    return 9


def _size(value: Any) -> int:
    """The size of a value, or 0 where it surely is below every limit, or is none."""
    kind = type(value)
    if kind is dict and _is_small(value):
        return 0
    try:
        if kind is str or kind is bytes:
            return 0 if len(value) <= _SHORT else size_of(value)
        return size_of(value)
    except (ValueRefused, TypeError, UnicodeEncodeError):
        return 0  # not a value at all: the validator says so, and where


def _id_tables(validator: Json) -> Iterable[str]:
    if validator.get("type") == "id":
        yield validator["tableName"]
        return
    for part in validator.values():
        if isinstance(part, dict):
            yield from _id_tables(part)
        elif isinstance(part, list):
            for member in part:
                if isinstance(member, dict):
                    yield from _id_tables(member)


def holds_commit_timestamp(value: Any) -> bool:
    """Whether the placeholder of a commit timestamp lies anywhere in a value."""
    kind = type(value)
    if kind is dict:
        return any([holds_commit_timestamp(item) for item in value.values()])
    if kind is list:
        return any([holds_commit_timestamp(item) for item in value])
    return kind is CommitTimestamp


class Triggers:
    """The triggers of one table: those that are called on each write, and those that are told of a list."""

    __slots__ = ("of_lists", "of_one")

    def __init__(self, of_one: tuple[Callee, ...], of_lists: tuple[Callee, ...]) -> None:
        self.of_one, self.of_lists = of_one, of_lists


class Scope:
    """One instance: its functions by name, its triggers by table, its children by mount name."""

    __slots__ = ("children", "functions", "instance", "limits", "names", "path", "routes", "runner", "scans", "table_number", "triggers")

    def __init__(self, instance: Instance, runner: Runner, table_number: Callable[[str, str], int | None]) -> None:
        path = instance.path
        self.instance, self.path, self.runner = instance, path, runner
        self.limits: Limits | None = instance.limits
        self.scans: dict[str, ToldScan] = {}  # that its worker has told of
        self.table_number: TableNumber = lambda table: table_number(path, table)
        code = instance.code
        made = code.functions if code is not None else {}
        self.functions = {name: Callee(self, declaration, made.get(name)) for name, declaration in instance.functions.items()}
        self.names = FunctionNames(self.functions)
        self.triggers = {table: self._triggers(instance, table) for table in {trigger.table for trigger in instance.triggers}}
        handlers = code.http_handlers if code is not None else {}
        self.routes = {(one.method, one.path): self._route(one, handlers) for one in instance.http_routes}
        self.children: dict[str, Scope] = {}

    def _route(self, route: RouteDeclaration, handlers: Mapping[tuple[str, str], Handler]) -> RouteCallee:
        method, path = route.method, route.path
        handler = handlers.get((method, path))
        if handler is None:
            return RouteCallee(self, route_declaration(method, path))
        function = RouteFunction(method, path, handler)
        return RouteCallee(self, function.declaration(), function)

    def _triggers(self, instance: Instance, table: str) -> Triggers:
        declared = [trigger for trigger in instance.triggers if trigger.table == table]
        handlers: Sequence[Handler | None] = [None] * len(declared) if instance.code is None else instance.code.triggers[table]
        made = [self._trigger(table, at, handler) for at, handler in enumerate(handlers)]
        return Triggers(
            tuple(callee for callee, trigger in zip(made, declared, strict=True) if not trigger.takes_list),
            tuple(callee for callee, trigger in zip(made, declared, strict=True) if trigger.takes_list),
        )

    def _trigger(self, table: str, ordinal: int, handler: Handler | None) -> Callee:
        declaration = FunctionDeclaration(f"trigger on {table}", "mutation", True, _ANY, _ANY)
        return Callee(self, declaration, handler=handler, ordinal=ordinal, is_trigger=True)

    def route(self, method: str, path: str) -> RouteCallee | None:
        """The handler of a request: of an exact route of this instance, or else that of the mount with the longest prefix."""
        own = self.routes.get((method, path))
        if own is not None:
            return own
        longest = ""
        below: Scope | None = None
        for child in self.children.values():
            mount = child.instance.mount
            if mount is None or mount.http_prefix is None:
                continue
            prefix = mount.http_prefix.rstrip("/")
            if len(prefix) > len(longest) and (path == prefix or path.startswith(prefix + "/")):
                longest, below = prefix, child
        return None if below is None else below.route(method, path[len(longest) :] or "/")

    def own(self, name: str) -> Callee:
        """A function of this instance, as code in it names it."""
        callee = self.functions.get(name)
        if callee is None:
            try:
                callee = self.functions.get(canonical(name))
            except FunctionNotFound:
                callee = None
        if callee is None:
            raise FunctionNotFound(f"{self.path}/{name}" if self.path else name, _guess(name, self.functions))
        return callee

    def childs(self, mount: str, name: str) -> Callee:
        """A function of a child, as code in this instance names it: those marked internal are the child's own."""
        child = self.children.get(mount)
        if child is None:
            mounted = f"Mounted here: {', '.join(sorted(self.children))}." if self.children else "Nothing is mounted here."
            raise FunctionNotFound(f"{mount}/{name}", _guess(mount, self.children) or mounted)
        callee = child.functions.get(name)
        if callee is None or callee.internal:
            public = [known for known, other in child.functions.items() if not other.internal]
            raise FunctionNotFound(f"{child.path}/{name}", _guess(name, public))
        return callee

    def improvise(self, handler: Handler, kind: Kind, name: str) -> Callee:
        """A function that is in no module: written on the spot by a test or a tool. It is called with nothing but its context."""
        plain = kind != "action" and not inspect.iscoroutinefunction(handler)
        declaration = FunctionDeclaration(name, kind, True, {"type": "object", "value": {}}, _ANY, plain=plain)
        return Callee(self, declaration, handler=handler)


def _guess(name: str, there: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(there), 1)
    return f"Did you mean {close[0]}?" if close else ""


class Directory:
    """Every scope of one tree by component path. A reload makes a new one; calls that run keep theirs."""

    def __init__(self, tree: Tree, runner_of: Callable[[Instance], Runner], table_number: Callable[[str, str], int | None]) -> None:
        self.scopes = {path: Scope(instance, runner_of(instance), table_number) for path, instance in tree.by_path.items()}
        for scope in self.scopes.values():
            scope.children = {name: self.scopes[child.path] for name, child in scope.instance.children.items()}
        self.root = self.scopes[""]
        self._found: dict[tuple[str, str, bool], Callee] = {}

    def find(self, component_path: str, name: str, *, camel_case: bool, everything: bool) -> Callee:
        """What a caller from outside means. `everything` reaches internal functions and components too.

        Whatever the caller may not have is not found, in the same words as what is not there.
        """
        key = (component_path, name, camel_case)
        known = self._found.get(key)
        if known is None:
            known = self._search(component_path, name, camel_case)
            if known is None:
                raise FunctionNotFound(name)
            if len(self._found) > _FOUND_MAX:
                self._found.clear()
            self._found[key] = known
        if (known.internal or component_path) and not everything:
            raise FunctionNotFound(name)
        return known

    def _search(self, component_path: str, name: str, camel_case: bool) -> Callee | None:
        scope = self.scopes.get(component_path)
        if scope is None:
            return None
        if camel_case:
            declared = scope.names.find(name)
            if declared is None:  # a component served on its own has no modules; clients add one where they see none
                declared = scope.names.find(name.removesuffix(":default"))
            return None if declared is None else scope.functions[declared]
        try:
            return scope.own(name)
        except FunctionNotFound:
            return None

    def scope(self, component_path: str) -> Scope:
        """An instance by its path. Raises FunctionNotFound where nothing is mounted."""
        found = self.scopes.get(component_path)
        if found is None:
            mounted = ", ".join(path for path in self.scopes if path)
            raise FunctionNotFound(component_path, f"Nothing is mounted there. Mounted: {mounted}." if mounted else "Nothing is mounted.")
        return found

    def get(self, component_path: str, name: str) -> Callee | None:
        """A function by its place, or None when it is gone."""
        scope = self.scopes.get(component_path)
        return None if scope is None else scope.functions.get(name)


_FOUND_MAX = 10_000
