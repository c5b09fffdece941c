"""What a mount allows, against what its component asks for. A start is refused or warned about here; `network` says what a fetch may reach,
and the worker's plan what a process may."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from interlock.errors import MountError
from interlock.limits import LIMITS
from interlock.mounting.network import NetPermission
from interlock.sdk.declarations import Mount

if TYPE_CHECKING:
    from interlock.mounting.instance import Instance

_HOST = r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]{2,45}\]"
_PERMISSION = re.compile(rf"http|files|native|net:({_HOST})(:\d{{1,5}})?")
_LENGTH_MAX = 300
_PREFIX = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")


def is_permission(text: str) -> bool:
    """`net:host` (`net:*.host`, `net:*`; with a port or not), `http`, `files` or `native`."""
    if len(text) > _LENGTH_MAX or _PERMISSION.fullmatch(text) is None:
        return False
    net = NetPermission.parse(text)
    return net is None or ((net.port is None or 0 < net.port < 65_536) and ("[" not in text or net.address is not None))


def allowed_by(mount: Mount) -> frozenset[str]:
    """The permissions that a mount gives. A prefix to answer under allows answering."""
    return frozenset(mount.allow) | ({"http"} if mount.http_prefix is not None else frozenset())


def check_permissions(mount: Mount, asked: Sequence[str]) -> list[str]:
    """Refuse a permission that is asked for and not allowed. Gives warnings: of what is allowed in vain."""
    title = f'mounts "{mount.name}"'
    for permission in mount.allow:
        if not is_permission(permission):
            problem = f"{title} with allow={permission!r}, which is no permission."
            raise MountError(mount.where, problem, 'A permission is "net:host", "http", "files" or "native".')
    allowed = allowed_by(mount)
    missing = [permission for permission in asked if not any(_covers(given, permission) for given in allowed)]
    if missing:
        problem = f"{title}, which asks for {_listed(missing)}, and that is not allowed."
        lines = []
        if "http" in missing:
            lines.append(f'http_prefix="/{mount.name}"')
        if further := [permission for permission in missing if permission != "http"]:
            lines.append(f"allow=[{_listed([*mount.allow, *further])}]")
        raise MountError(mount.where, problem, f"If you want that, write {' and '.join(lines)} in this line.")
    warnings = []
    if in_vain := sorted({given for given in mount.allow if not _is_of_use(given, asked)}):
        warnings.append(f"{mount.where} {title} and allows {_listed(in_vain)}, which it does not ask for.")
    if mount.http_prefix is not None and "http" not in asked:
        warnings.append(f'{mount.where} {title} with http_prefix="{mount.http_prefix}", and it has no HTTP routes.')
    if "http" in mount.allow and mount.http_prefix is None and "http" in asked:
        warnings.append(f'{mount.where} {title} without a prefix, so its HTTP routes answer nowhere. Write http_prefix="/{mount.name}".')
    return warnings


def check_allowed_above(mount: Mount, parent: Instance) -> None:
    """Refuse a child that is allowed more than the sealed component that mounts it."""
    if parent.source is None:
        return
    beyond = [permission for permission in mount.allow if not any(_covers(given, permission) for given in parent.allow)]
    if beyond:
        problem = f'mounts "{mount.name}" and allows {_listed(beyond)}, which {parent.title} is not allowed itself.'
        above = parent.mount.where if parent.mount is not None else parent.title
        raise MountError(mount.where, problem, f"If you want that, allow it to {parent.title} too, at {above}.")


def _covers(given: str, asked: str) -> bool:
    if given == asked:
        return True
    wide, narrow = NetPermission.parse(given), NetPermission.parse(asked)
    return wide is not None and narrow is not None and wide.covers(narrow)


def _is_of_use(given: str, asked: Sequence[str]) -> bool:
    """An address is also allowed for the sake of a name that leads to it."""
    net = NetPermission.parse(given)
    if net is not None and net.address is not None:
        return any(permission.startswith("net:") for permission in asked)
    return any(_covers(given, permission) for permission in asked)


def check_limits(mount: Mount) -> list[str]:
    """Refuse what is no share of a limit; warn where it would have to raise one."""
    warnings = []
    for name in mount.limits.__dataclass_fields__ if mount.limits is not None else ():
        value = getattr(mount.limits, name)
        if value is None:
            continue
        if value == 0:  # of a call below it may be nothing; a whole mount could do nothing
            raise MountError(mount.where, f'mounts "{mount.name}" with limits=Limits({name}={value!r}).', "Give a positive number.")
        limit = LIMITS.get(name)
        if limit is not None and value > limit.value:
            said = f"Limits({name}={value:,}), and the limit of all is {limit.value:,}"
            warnings.append(f'{mount.where} mounts "{mount.name}" with {said}: a mount\'s share can lower it only.')
    return warnings


def prefix_below(mount: Mount, parent: str | None) -> str | None:
    """Where a mount's HTTP routes answer, below `/http`: its prefix after its parent's. None: nowhere."""
    if mount.http_prefix is None:
        return None
    prefix = mount.http_prefix.rstrip("/")
    if not _PREFIX.fullmatch(prefix) or any(part in (".", "..") for part in prefix.split("/")):
        problem = f'mounts "{mount.name}" with http_prefix={mount.http_prefix!r}, which is no path.'
        raise MountError(mount.where, problem, f'Write it like http_prefix="/{mount.name}".')
    return None if parent is None else parent + prefix


def _listed(permissions: Sequence[str]) -> str:
    return ", ".join(f'"{permission}"' for permission in permissions)
