"""Bodies that came packed, unpacked bit by bit: a kilobyte that stands for a gigabyte is never unfolded at once."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

PIECE = 256 * 1024
_GZIP, _ZLIB, _RAW = 31, 15, -15

ACCEPTED = "gzip, deflate"


class Unpacker:
    """Of one response. `packing` is its content-encoding; what is neither gzip nor deflate is passed on as it came."""

    def __init__(self, packing: str) -> None:
        self._name = packing.strip().lower().removeprefix("x-")
        self._bits = {"gzip": _GZIP, "deflate": _ZLIB}.get(self._name)
        self._packed = zlib.decompressobj(self._bits) if self._bits is not None else None
        self._has_begun = False

    @property
    def unpacks(self) -> bool:
        return self._packed is not None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes stand for, in pieces. Raises zlib.error."""
        while data:
            if self._packed is None:
                yield data[:PIECE]
                data = data[PIECE:]
                continue
            if self._packed.eof:
                if self._name != "gzip":
                    return  # what follows is nobody's
                self._packed = zlib.decompressobj(_GZIP)  # several, one after the other, are one
            piece = self._unpack(self._packed, data)
            data = self._packed.unconsumed_tail or self._packed.unused_data
            if piece:
                yield piece

    def _unpack(self, packed: zlib._Decompress, data: bytes) -> bytes:
        try:
            piece = packed.decompress(data, PIECE)
        except zlib.error:
            if self._has_begun or self._bits != _ZLIB:
                raise
            self._packed = packed = zlib.decompressobj(_RAW)  # some servers leave the wrapping out
            piece = packed.decompress(data, PIECE)
        self._has_begun = True
        return piece

    def finish(self) -> Iterator[bytes]:
        """What is left when the last bytes have come. Raises zlib.error where the end is missing."""
        packed = self._packed
        if packed is None or not self._has_begun:
            return
        while not packed.eof:
            piece = packed.decompress(b"", PIECE)
            if not piece:
                break
            yield piece
        if not packed.eof:
            raise zlib.error("it ends too early")


def told_headers(headers: Mapping[str, str], unpacker: Unpacker) -> dict[str, str]:
    """The headers of a response as its reader is told them: of an unpacked body, without what described the packed one."""
    gone = {"content-encoding", "content-length"} if unpacker.unpacks else set()
    return {name: value for name, value in headers.items() if name not in gone | {"transfer-encoding", "connection", "keep-alive"}}
