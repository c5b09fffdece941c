"""The manifest of a component, asked of a worker that is made for it; known ones are read from a cache.

The answer is bytes that a component has written: whoever asks looks at every part of it. It is kept by what the files hold, so a
component that has not changed is not asked again, by this process or the next.

With it comes what the component's modules compile to, which takes most of the time of loading them. This process never reads that: it
is handed on to workers of the same files. The worker that it comes from knows nothing but these: no env, no arguments. One that could
read anything else, as it is not confined or loads native code from disk, is not believed in this.

Start at `manifest_bytes`. It is synchronous: it is needed before anything runs.
"""

from __future__ import annotations

import base64
import importlib.util
import os
import select
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from interlock.errors import MountError
from interlock.limits import MIB
from interlock.sandbox.failures import FRAMES, cleaned
from interlock.sandbox.frames import CODE_MAX, FrameError, Frames, decode, encode
from interlock.sandbox.loading import load_frame, loading_failure
from interlock.sandbox.plan import Plan
from interlock.sandbox.sources import Source
from interlock.sandbox.zygote import Spawned, shared

_START_SECONDS, _SECONDS = 60.0, 10.0
"""How long it may take until a worker stands, which is no doing of the component's, and then until that is imported."""
_BYTES_MAX = 7 * MIB
_KNOWN_MAX, _KNOWN_BYTES_MAX = 256, 16 * MIB
_FOLDER_BYTES_MAX = 256 * MIB
_known: dict[str, _Known] = {}
_PYTHON = f"{sys.implementation.cache_tag}-{importlib.util.MAGIC_NUMBER.hex()}"


def manifest_bytes(source: Source, plan: Plan, *, where: str, title: str, version: str) -> bytes:
    """The JSON that the component's worker answers. `title` names the mount in errors, `version` says who asks. Raises MountError.

    From then on the source has its `code`, where the workers of this plan are sealed.
    """
    key = f"{source.key}-{'sealed' if _knows_files_alone(plan) else plan.isolation}-{version}-{_PYTHON}"
    known = _known.get(key)
    if known is None:
        known = _read_kept(key, source)
        if known is None:
            known = _ask(source, plan, where, title)
            _keep(key, known)
        if len(_known) >= _KNOWN_MAX or sum(one.size for one in _known.values()) > _KNOWN_BYTES_MAX:
            _known.clear()
        _known[key] = known
    source.code.update(known.code)
    return known.manifest


@dataclass(frozen=True, slots=True)
class _Known:
    """What a worker has told: its manifest as JSON, and what its files compile to."""

    manifest: bytes
    code: dict[str, bytes]

    @property
    def size(self) -> int:
        return len(self.manifest) + sum(map(len, self.code.values()))


def _ask(source: Source, plan: Plan, where: str, title: str) -> _Known:
    zygote = shared()
    spawned = zygote.spawn(plan)
    zygote.stand_ready(plan)
    try:
        known = _told(spawned, encode(load_frame(source, "", {}, manifest=True)), where, title, source)
    finally:
        spawned.kill()
        spawned.close()
    return known if _knows_files_alone(plan) else _Known(known.manifest, {})


def _knows_files_alone(plan: Plan) -> bool:
    return plan.isolation == "sandbox" and plan.is_sealed


def _told(spawned: Spawned, request: bytes, where: str, title: str, source: Source) -> _Known:
    until, stands = time.monotonic() + _START_SECONDS, False
    frames = Frames(_BYTES_MAX)
    poll = select.poll()
    poll.register(spawned.sock, select.POLLIN | select.POLLOUT)
    unsent = memoryview(request)
    while (left := until - time.monotonic()) > 0:
        for _, events in poll.poll(left * 1000.0):
            if events & select.POLLOUT:
                with suppress(BlockingIOError, BrokenPipeError):
                    unsent = unsent[spawned.sock.send(unsent) :]
                if not unsent:
                    poll.modify(spawned.sock, select.POLLIN)
            if events & ~select.POLLOUT:
                try:
                    data = spawned.sock.recv(1 << 18)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if not data:
                    raise MountError(where, f"{title}, and its process ended while it was imported.")
                frames.feed(data)
        try:
            while (body := frames.next()) is not None:
                answer = _read(body, where, title, source)
                if answer is not None:
                    return answer
                if not stands:
                    until, stands = time.monotonic() + _SECONDS, True
        except FrameError as error:
            raise MountError(where, f"{title}, and its worker answered with {error}.") from None
    if not stands:
        raise MountError(where, f"{title}, and no worker stood ready for it within {_START_SECONDS:g} s.")
    raise MountError(where, f"{title}, and its import took longer than {_SECONDS:g} s.")


def _read(body: bytes, where: str, title: str, source: Source) -> _Known | None:
    frame = decode(body)
    if frame[0] == "refused":  # it comes first, before the component is there to say it
        raise MountError(where, f"{title}, and no process can be confined here: {cleaned(str(frame[1:]))[:1_000]}.", _WAYS_ROUND)
    if frame[0] == "hello":
        return None
    if frame[0] == "loaded" and len(frame) == 3 and isinstance(frame[1], dict) and _is_code(frame[2], source):
        try:
            return _Known(orjson.dumps(frame[1]), frame[2])
        except TypeError:
            raise FrameError("a manifest that is no JSON") from None
    if frame[0] == "failed":
        error = loading_failure(frame[1:])
        if isinstance(error, MountError):
            raise error
        frames = getattr(error, FRAMES, [])
        place = f" at {frames[0]}" if frames else ""
        said = f"{type(error).__name__}: {error}" if frames else str(error)
        remedy = _DEPENDENCIES if isinstance(error, ModuleNotFoundError) else _MENDING
        raise MountError(where, f"{title}, whose import failed{place}: {said}", remedy)
    raise FrameError("something else than a manifest")


def _is_code(told: object, source: Source) -> bool:
    if not isinstance(told, dict) or not all(path in source.files and isinstance(code, bytes) for path, code in told.items()):
        return False
    return sum(map(len, told.values())) <= CODE_MAX


_MENDING = "Mend that if the component is yours; else take another version of it, or take this line out."
_DEPENDENCIES = (
    "A worker has the component's own package, and what the dependencies in its pyproject.toml name. Add what it imports there and install "
    "it again; if it is not yours, take another version of it, or take this line out."
)
_WAYS_ROUND = 'Write isolation="process" (a process of its own, not confined) or isolation="inline" where you trust the component.'


def _folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "interlock" / "manifests"


def _read_kept(key: str, source: Source) -> _Known | None:
    with suppress(OSError, RuntimeError, ValueError):
        match orjson.loads((_folder() / key).read_bytes()):
            case {"manifest": dict(manifest), "code": dict(code)}:
                read = {path: base64.b64decode(str(written), validate=True) for path, written in code.items()}
                if _is_code(read, source):
                    return _Known(orjson.dumps(manifest), read)
    return None


def _keep(key: str, known: _Known) -> None:
    with suppress(OSError, RuntimeError):
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = folder / f".{key}.{os.getpid()}"
        code = {path: base64.b64encode(written).decode() for path, written in known.code.items()}
        unfinished.write_bytes(orjson.dumps({"manifest": orjson.Fragment(known.manifest), "code": code}))
        unfinished.replace(folder / key)
        _make_room(folder)


def _make_room(folder: Path) -> None:
    """Delete what was written first, until the rest is small enough: every version of a file that somebody works on lies there."""
    with os.scandir(folder) as entries:
        kept = sorted(((entry.stat(), entry.path) for entry in entries), key=lambda one: one[0].st_mtime_ns, reverse=True)
    total = 0
    for stat, path in kept:
        total += stat.st_size
        if total > _FOLDER_BYTES_MAX:
            Path(path).unlink(missing_ok=True)
