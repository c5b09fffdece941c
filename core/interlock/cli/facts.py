"""What there is to tell about an open backend: its mounts, its tables, the documents in them. JSON, as commands print it and send it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interlock.cli.console import CommandError
from interlock.cli.exits import Exit

if TYPE_CHECKING:
    from interlock.backend import Backend
    from interlock.engine import Table
    from interlock.mounting import Instance

Json = dict[str, Any]


def mounts(backend: Backend) -> list[Json]:
    """Every instance of the tree, parents first, and after them those whose data is still there although nothing mounts them."""
    found = [
        {
            "path": path,
            "state": "mounted",
            "component": instance.manifest.name,
            "version": instance.manifest.version,
            "distribution": instance.plugin.distribution if instance.plugin is not None else None,
            "isolation": instance.isolation,
            "native": instance.source is not None and bool(instance.source.native),
            "layers": _layers(instance),
            "permissions": {"asked": list(instance.manifest.permissions), "allowed": sorted(instance.allow)},
            "functions": sorted(instance.functions),
            **_size(_tables_of(backend, path)),
        }
        for path, instance in backend.tree.by_path.items()
    ]
    unmounted = backend.tree.unmounted(backend.engine.catalog.components())
    return found + [{"path": path, "state": "unmounted", **_size(_tables_of(backend, path))} for path in unmounted]


def tables(backend: Backend, component: str) -> list[Json]:
    """The tables of one instance by name, those without a declaration included."""
    found = _tables_of(backend, component)
    if not found and component not in backend.tree.by_path:
        paths = ", ".join(path for path in backend.tree.by_path if path) or "no component"
        raise CommandError(Exit.FAILED, f'There is no component "{component}" here, and no data of one.', f"Mounted: {paths}.")
    return [
        {
            "name": table.name,
            "documents": table.count,
            "bytes": table.size,
            "indexes": {name: list(index.fields) for name, index in table.indexes.items() if not name.startswith("by_id")},
        }
        for table in found
    ]


async def documents(backend: Backend, component: str, name: str, limit: int) -> list[Json]:
    """The newest documents of a table, newest first, as wire JSON."""
    from interlock.engine import Transaction
    from interlock.storage.protocol import Interval
    from interlock.values import to_wire

    table = backend.engine.catalog.get(component, name)
    if table is None:
        names = ", ".join(known["name"] for known in tables(backend, component)) or "none"
        raise CommandError(
            Exit.FAILED, f'There is no table "{name}"' + (f' in "{component}"' if component else "") + ".", f"Tables: {names}."
        )

    async def read(transaction: Transaction) -> list[Json]:
        return await transaction.scan(table.indexes["by_creation_time"], Interval(b"", None), True, limit)

    return [to_wire(document) for document in (await backend.engine.query(read)).value]


def _layers(instance: Instance) -> list[str]:
    """What confines the workers of a mount on this machine."""
    from interlock.mounting.sealing import plan_of
    from interlock.sandbox.confinement import available

    return (
        []
        if instance.source is None
        else list(available().layers(plan_of(instance.isolation, instance.path, instance.limits, instance.source)))
    )


def _tables_of(backend: Backend, component: str) -> list[Table]:
    found = (table for table in backend.engine.catalog.of_component(component) if not table.name.startswith("_"))
    return sorted(found, key=lambda table: table.name)


def _size(found: list[Table]) -> Json:
    return {
        "tables": [table.name for table in found],
        "documents": sum(table.count for table in found),
        "bytes": sum(table.size for table in found),
    }
