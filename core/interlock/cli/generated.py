"""Writes `_generated.py` beside an app: the same `components`, with a class for each mount, for editors and type checkers.

Its functions stand there as functions with their arguments and results, seen by type checkers alone. At run time the file
holds nothing but the `components` of `interlock`.

The app imports it, and what components and their packages say of themselves is in it: no text of theirs may end what it stands in.
"""

from __future__ import annotations

import contextlib
import keyword
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlock.mounting.app_package import GENERATED

if TYPE_CHECKING:
    from interlock.mounting import Instance
    from interlock.sdk.declarations import FunctionDeclaration

_CONTEXTS = {"query": "QueryCtx", "mutation": "MutationCtx", "action": "ActionCtx"}

_HEAD = '''\
"""The components that this app mounts, typed. Written by `interlock dev`: what is changed here is written over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from interlock import components as _components

if TYPE_CHECKING:
    from interlock import ActionCtx, ComponentReference, Int64, MutationCtx, QueryCtx, action, mutation, query

    _default: Any = ...
'''


def write_generated(app: Path, root: Instance) -> bool:
    """Write the file where it has changed, and say whether it has."""
    file, text = app / GENERATED, generated_source(root)
    with contextlib.suppress(OSError):
        if file.read_text(encoding="utf-8") == text:
            return False
    fresh = file.with_name(f".{GENERATED}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(file)
    return True


def generated_source(root: Instance) -> str:
    """The text of the file for an app."""
    mounts = [(name, child) for name, child in sorted(root.children.items()) if _is_name(name)]
    classes = [line for name, child in mounts for line in _class(name, child)]
    attributes = [f"        {name}: {_class_name(name)}" for name, _ in mounts] or ["        pass"]
    lines = [*classes, "", "    class Components:", '        """What app.py mounts."""', "", *attributes]
    return _HEAD + "\n".join(lines) + '\n\n\ncomponents = cast("Components", _components)\n'


def _class(mount: str, instance: Instance) -> Iterator[str]:
    """The functions of one mount as stubs, and the class that holds them."""
    public = [function for name, function in sorted(instance.functions.items()) if not function.internal and _is_name(name)]
    for function in public:
        yield ""
        yield f"    @{function.kind}"
        yield f"    async def _{mount}_{function.name}({_parameters(function)}) -> {_annotation(function.returns)}:"
        if function.doc.strip():
            yield f"        {_docstring(function.doc)}"
        yield "        raise AssertionError"
    yield ""
    yield f"    class {_class_name(mount)}(ComponentReference):"
    what = f"{instance.manifest.name} {instance.manifest.version}".rstrip()
    yield f"        {_docstring(f'`components.{mount}`: {what}.')}"
    yield ""
    yield from (f"        {function.name} = _{mount}_{function.name}" for function in public)


def _class_name(mount: str) -> str:
    return "_" + "".join(part[:1].upper() + part[1:] for part in mount.split("_"))


def _parameters(function: FunctionDeclaration) -> str:
    given: dict[str, Any] = function.args.get("value", {})
    fields = {name: field for name, field in given.items() if _is_parameter(name)}
    required = [f"{name}: {_annotation(field['fieldType'])}" for name, field in fields.items() if not field["optional"]]
    optional = [f"{name}: {_annotation(field['fieldType'])} = _default" for name, field in fields.items() if field["optional"]]
    rest = ["**rest: Any"] if function.rest or len(fields) < len(given) else []
    return ", ".join([f"ctx: {_CONTEXTS[function.kind]}, /", *(["*"] if required or optional else []), *required, *optional, *rest])


def _is_parameter(name: str) -> bool:
    return name.isidentifier() and _is_name(name) and name not in ("ctx", "rest")


def _is_name(identifier: str) -> bool:
    """Whether Python lets something be called so."""
    return not keyword.iskeyword(identifier) and identifier != "__debug__"


def _annotation(validator: dict[str, Any]) -> str:
    """The Python type of what a validator takes."""
    match validator:
        case {"type": "null"}:
            return "None"
        case {"type": "boolean"}:
            return "bool"
        case {"type": "number", "integer": True}:
            return "int"
        case {"type": "number"}:
            return "float"
        case {"type": "bigint" | "commitTs"}:
            return "Int64"
        case {"type": "string" | "id"}:
            return "str"
        case {"type": "bytes"}:
            return "bytes"
        case {"type": "literal", "value": str() | bool() as value}:
            return f"Literal[{value!r}]"
        case {"type": "literal", "value": int() | float() as value}:
            return f"Literal[{int(value)}]" if value == int(value) else "float"
        case {"type": "array", "value": value}:
            return f"list[{_annotation(value)}]"
        case {"type": "record", "values": {"fieldType": value}}:
            return f"dict[str, {_annotation(value)}]"
        case {"type": "object"}:
            return "dict[str, Any]"
        case {"type": "union", "value": members} if members:
            return " | ".join(dict.fromkeys(_annotation(member) for member in members))
    return "Any"


def _docstring(doc: str) -> str:
    """The first line of a text, whatever is in it, as one."""
    first = "".join(char for char in doc.strip().splitlines()[0] if char.isprintable()).replace("\\", "\\\\")
    if '""' in first or first.endswith('"'):
        first = first.replace('"', "'")
    return f'"""{first}"""'
