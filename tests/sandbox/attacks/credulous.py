"""A host without a single check: what each lying frame would do to one. It shows that a lie is a lie, and not a frame gone wrong.

Frames are read with the plain JSON reader, names are looked up with `getattr`, numbers and indexes are used as they come.
"""

from __future__ import annotations

import json
import struct
from typing import Any

HARM = {
    "an operation that there is not": "^did __class__",
    "an operation of the host's object": "^did close",
    "arguments of another number": "^fell: TypeError",
    "a scan that was never opened": "^fell: IndexError|rows of another",
    "a negative scan": "rows of another",
    "a count without measure": "^counted 4611686018427387904",
    "a range that is none": "^fell: (TypeError|ValueError)",
    "a target that is none": "^fell: ValueError",
    "limits that are none": "^gave the limits .*x",
    "a number that is a string": "^fell: KeyError",
    "a number without end": "^fell: ValueError",
    "an operation to drop that is none": "^fell: TypeError",
    "a frame that is not JSON": "^fell: JSONDecodeError",
    "a frame that is no list": "^fell: KeyError",
    "an empty frame": "^fell: JSONDecodeError",
    "an empty list": "^fell: IndexError",
    "a name that there is not": "^fell: AttributeError",
    "bytes that are no text": "^fell: UnicodeDecodeError",
    "depth without end": "^fell: RecursionError",
    "a length of two gigabytes": "^waits for 2147483647",
    "a length of four gigabytes": "^waits for 4294967295",
    "a confinement that failed after all": "^believes that it is not confined",
    "other layers than it has": "^shows the layers .*none at all",
    "to be loaded once more": "^loaded again",
    "a manifest of its own making": "^allowed .*net:\\*",
    "an error of an operation that there was not": "^fell: KeyError",
    "an error in no known way": "^fell: ValueError",
    "a flood for calls that are over": "^kept 2000",
    "a flood of answers nobody waits for": "^kept 2000",
    "early steps that are no list": "^fell: TypeError",
    "early steps without end": "^kept 50001",
    "early steps that hold much": "^holds 17825792",
    "a time that is none": "^counted -1.0",
    "random bytes": "^waits for 16909060",
}


class Credulous:
    """Reads what a worker has sent, and says what came of the first of it that did harm."""

    def __init__(self, own: int) -> None:
        self._calls: dict[int, dict[str, Any]] = {own: {"failures": {}}}
        self._scans = [["rows of another"]]
        self._kept: list[Any] = []

    def read(self, sent: bytes) -> str:
        try:
            while sent:
                (length,) = struct.unpack_from(">I", sent)
                if length > len(sent) - 4:
                    return f"waits for {length}"
                frame = json.loads(sent[4 : 4 + length].decode())
                sent = sent[4 + length :]
                harm = getattr(self, f"take_{frame[0]}")(*frame[1:])
                if harm:
                    return str(harm)
        except Exception as error:
            return f"fell: {type(error).__name__}: {error}"[:200]
        return f"kept {len(self._kept)}" if self._kept else "nothing"

    def take_op(self, number: Any, operation: int, method: str, running: int, args: list[Any], steps: list[Any]) -> str | None:
        if type(number) is int and number > 1 << 30:
            self._kept.append((number, args))  # somebody may ask for it
            return None
        self._calls[number]["last"] = operation
        done = getattr(self, method)
        return f"did {method}" if method in ("close", "__class__") else done(*args)

    def take_ret(self, number: int, looked: bool, value: Any, steps: list[Any]) -> None:
        self._kept.append((number, value))

    def take_did(self, number: int, steps: list[Any], seconds: float) -> str | None:
        self._kept += steps
        if steps and "text" in steps[0][2]:
            return f"holds {len(steps[0][2]['text'])}"
        return None if steps else f"counted {seconds}"

    def take_exc(self, number: int, looked: bool, told: list[Any], steps: list[Any]) -> Any:
        kind, *rest = told
        reference, _ = rest if rest else [kind]
        return self._calls[number]["failures"][reference]

    def take_use(self, number: int, cursor: int, count: int) -> str:
        return f"counted {count}"

    def take_drop(self, number: int, operation: int) -> None:
        del self._calls[number][operation]

    def take_refused(self, why: str) -> str:
        return "believes that it is not confined"

    def take_hello(self, layers: Any, pid: int) -> str:
        return f"shows the layers {layers}"

    def take_loaded(self, manifest: Any) -> str:
        return f"allowed {manifest}" if manifest else "loaded again"

    def close(self) -> None:
        self._scans.clear()

    def get(self, id: str) -> None:
        return None

    def fetch_rows(self, scan: int, count: int) -> str:
        return str(self._scans[scan][:count])

    def scan(self, told: list[Any], count: int | None) -> None:
        _, _, equal, _, _ = told
        for [_name, _value] in equal:
            pass

    def run(self, kind: str, target: list[Any], args: Any) -> str:
        _, _, _, _, limits, _, _ = target
        return f"gave the limits {limits}"
