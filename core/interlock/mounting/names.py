"""Names of functions and arguments as callers write them, brought to the one spelling that was declared.

Clients write `guesses:submit`, `guesses.js:submit`, `guesses` for `guesses:default`, and, outside Python, camelCase:
`guesses:submitMany` for `submit_many`, the argument `paginationOpts` for `pagination_opts`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from interlock.errors import ArgumentError, FunctionNotFound
from interlock.limits import LIMITS
from interlock.values import is_identifier

_MAX = int(LIMITS["identifier"].value)
_MODULE_PART = re.compile(rf"(?=[A-Za-z0-9_.]*[A-Za-z0-9])[A-Za-z0-9_.]{{1,{_MAX}}}\Z")
_HUMP = re.compile(r"(?<=[A-Za-z0-9])_([A-Za-z0-9])")


def camel(name: str) -> str:
    """The camelCase spelling of a snake_case name: `submit_many` is `submitMany`. Leading and trailing underscores stay."""
    return _HUMP.sub(lambda hump: hump[1].upper(), name)


def canonical(name: str) -> str:
    """`module:function` for any accepted spelling of a path. Raises `FunctionNotFound` for what can be no function's name."""
    module, colon, function = name.rpartition(":")
    if not colon:
        module, function = name, "default"
    module = module.removesuffix(".js")
    *folders, last = module.split("/")
    if not is_identifier(function) or "." in last or not all(_MODULE_PART.match(part) for part in (*folders, last)):
        raise FunctionNotFound(name)
    return f"{module}:{function}"


class FunctionNames:
    """The declared function names of one instance. An app's are `module:function`, a component's plain."""

    def __init__(self, declared: Iterable[str]) -> None:
        self._declared = frozenset(declared)
        self._by_camel = {spelling: name for name in self._declared for spelling in _spellings(name)}

    def find(self, name: str) -> str | None:
        """The declared name that a caller means by `name`, or None."""
        return self._find(name) or self._find(self._canonical(name))

    def _find(self, name: str) -> str | None:
        return name if name in self._declared else self._by_camel.get(name)

    @staticmethod
    def _canonical(name: str) -> str:
        try:
            return canonical(name)
        except FunctionNotFound:
            return ""


class ArgumentNames:
    """The declared argument names of one function. What is not declared (`**rest`) and what lies inside values keeps its spelling."""

    def __init__(self, function: str, declared: Iterable[str]) -> None:
        self._function = function
        names = frozenset(declared)
        self._by_camel = {camel(name): name for name in names if camel(name) not in names}
        self.differ = bool(self._by_camel)  # some argument has another spelling

    def rename(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """`arguments` with camelCase names in their declared spelling; the mapping itself when there is nothing to rename."""
        foreign = self._by_camel.keys() & arguments.keys()
        if not foreign:
            return arguments
        for spelling in foreign:
            if self._by_camel[spelling] in arguments:
                once = f'given once, as it or as "{self._by_camel[spelling]}"'
                raise ArgumentError(self._function, f".{spelling}", once, "both")
        return {self._by_camel.get(name, name): value for name, value in arguments.items()}


def _spellings(name: str) -> set[str]:
    """How else callers may write `name`: camelCase in the module, the function, or both."""
    module, colon, function = name.rpartition(":")
    return {f"{m}{colon}{f}" for m in (module, camel(module)) for f in (function, camel(function))} - {name}


def clashing(names: Iterable[str]) -> tuple[str, str] | None:
    """Two different names that one camelCase spelling would mean, if there are any."""
    by_camel: dict[str, str] = {}
    for name in sorted(names):
        other = by_camel.setdefault(camel(name), name)
        if other != name:
            return other, name
    return None
