"""Which function a socket's client means, and with what."""

from __future__ import annotations

from typing import Any, NamedTuple

from interlock.errors import FunctionNotFound
from interlock.server.decoding import read_arguments
from interlock.server.function_path import BadFunctionPath, read_component, read_function
from interlock.server.messages import Add, Call
from interlock.server.service import Credentials


class Target(NamedTuple):
    """A call as the backend takes it."""

    path: str
    args: dict[str, Any]
    component_path: str


def read_target(call: Call | Add, credentials: Credentials) -> Target:
    """Raises ValueRefused and FunctionNotFound."""
    try:
        component_path = read_component(call.component_path)
        path = read_function(call.path, component_path)
    except BadFunctionPath as error:
        raise FunctionNotFound(call.path[:200], str(error)) from None
    if component_path and not credentials.may_address_components:
        raise FunctionNotFound(path)
    return Target(path, read_arguments(call.args), component_path)
