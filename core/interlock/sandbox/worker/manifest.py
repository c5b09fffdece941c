"""What a component is, told by the worker that has imported it: the JSON that the host reads as a manifest."""

from __future__ import annotations

from typing import Any

from interlock.errors import FunctionNotFound, MountError
from interlock.sandbox.worker.modules import ComponentFiles
from interlock.sdk.assembly import Assembly
from interlock.sdk.component import Component
from interlock.sdk.triggers import declared_triggers
from interlock.values import to_wire

FORMAT = 3
_DOC_MAX = 10_000


def manifest_json(component: Component, files: ComponentFiles) -> dict[str, Any]:
    """The manifest without what its package says: version and requirements are known to the host."""
    schema = component.schema
    return {
        "format": FORMAT,
        "name": component.name,
        "version": "",
        "interlock": "",
        "tables": {name: table.to_json() for name, table in schema.declarations().items()} if schema is not None else {},
        "strict": schema.strict if schema is not None else True,
        "functions": {
            name: {**(told := function.declaration().to_json()), "doc": told["doc"][:_DOC_MAX]}
            for name, function in component.functions.items()
        },
        "triggers": [trigger.to_json() for trigger in declared_triggers(component.triggers)],
        "crons": _crons(component),
        "children": [
            {**mount.to_json(), "local": False if isinstance(mount.component, str) else place_of(mount.component, files)}
            for mount in component.mounts
        ],
        "env": component.env_declarations(),
        "permissions": list(component.permissions),
        "http_routes": [route.declaration().to_json() for route in component.http_routes],
    }


def _crons(assembly: Assembly) -> list[dict[str, Any]]:
    told = []
    for cron in assembly.crons:
        try:
            declared = cron.declaration()
        except FunctionNotFound as error:
            raise MountError(cron.where, f'cron "{cron.name}" calls {error.name}, which callers cannot reach.', error.hint) from None
        told.append({**declared.to_json(), "args": to_wire(declared.args)})
    return told


def place_of(component: Component, files: ComponentFiles) -> str:
    """Where an object lies, as an entry point names it: `package.module:name`. Raises MountError for one that lies in no module."""
    for module in files.loaded():
        for name, value in vars(module).items():
            if value is component:
                return f"{module.__name__}:{name}"
    raise MountError(
        component.where,
        f'the component "{component.name}" is in no module under a name, so no other process can find it.',
        'Assign it at the top of a module, or mount it with isolation="inline".',
    )
