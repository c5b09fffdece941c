"""What a worker is told to load, and what it says of a component that cannot be loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interlock.errors import MountError
from interlock.sandbox.failures import cleaned, make
from interlock.sandbox.sources import Source


class Refused(Exception):
    """The worker could not be confined, or the component not be loaded."""


def load_frame(source: Source, path: str, env: Mapping[str, Any], *, manifest: bool) -> list[Any]:
    """What a worker is told to load."""
    described = {
        "path": path,
        "module": source.module,
        "object": source.name,
        "files": dict(source.files),
        "code": {} if manifest else dict(source.code),
        "native": dict(source.native),
        "env": dict(env),
        "manifest": manifest,
    }
    return ["load", described]


def loading_failure(told: list[Any]) -> Exception:
    """What a worker says whose component cannot be imported."""
    match told:
        case ["kind", str(name)]:
            return Refused(f"is a {cleaned(name)[:100]} and no Component")
        case ["import", "own", "MountError", [str(where), str(problem), str(remedy)], *_]:
            return MountError(cleaned(where)[:500], cleaned(problem), cleaned(remedy))
        case ["import", *error]:
            return make(error, "import", trusted=False)
    return Refused("did not say what is wrong")
