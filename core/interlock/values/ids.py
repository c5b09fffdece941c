"""Document ids: 31 to 37 characters that carry a table number, 16 bytes of their own, and a check sum.

The text is Crockford base32 of `VInt(table) ‖ internal id ‖ Fletcher-16`. Reading is strict: one id has one text.
"""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Final
from zlib import adler32

_ALPHABET: Final = b"0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = [chr(_ALPHABET[pair >> 5]) + chr(_ALPHABET[pair & 31]) for pair in range(1024)]
"""The text of ten bits."""
_DIGITS: Final = b"0123456789abcdefghijklmnopqrstuv"
_BYTES_BY_LENGTH: Final = {31: 19, 32: 20, 34: 21, 36: 22, 37: 23}
_TABLES_MAX: Final = 65_536
_tables: Final[dict[str, int]] = {}
"""The table numbers of ids that were read. Not of strings that are none: those have any length."""

# From our letters to those that int(…, 32) reads, and "!" for all others.
_to_digits: Final = bytes(_DIGITS[_ALPHABET.index(byte)] if byte in _ALPHABET else ord("!") for byte in range(256))


@lru_cache(maxsize=65_536)
def _vint(table: int) -> bytes:
    if not 0 < table < 2**32:
        raise ValueError(f"{table} is no table number")
    out = bytearray()
    while table > 127:
        out.append(table & 127 | 128)
        table >>= 7
    out.append(table)
    return bytes(out)


def _fletcher(raw: bytes) -> int:
    """The check sum, low byte first: the sum of the bytes, then the sum of the running sums, both modulo 256.

    Adler-32 from 0 is these two sums modulo 65,521, which those of at most 21 bytes stay below.
    """
    sums = adler32(raw, 0)
    return (sums & 255) << 8 | sums >> 16 & 255


def encode_id(table: int, internal: bytes) -> str:
    """The text of an id. `internal` is 16 bytes (`new_internal`)."""
    if len(internal) != 16:
        raise ValueError(f"an internal id has 16 bytes, not {len(internal)}")
    raw = _vint(table) + internal
    if len(raw) == 18:
        sealed = raw + _fletcher(raw).to_bytes(2, "big")
        parts: list[str] = []
        for at in (0, 5, 10, 15):  # 40 bits at a time: numbers of up to 62 bits need no object where this is compiled
            bits = int.from_bytes(sealed[at : at + 5], "big")
            parts += (_PAIRS[bits >> 30], _PAIRS[bits >> 20 & 1023], _PAIRS[bits >> 10 & 1023], _PAIRS[bits & 1023])
        return "".join(parts)
    number = int.from_bytes(raw, "big") << 16 | _fletcher(raw)
    bits = 8 * len(raw) + 16
    length = -(-bits // 5)
    number <<= 5 * length - bits
    return bytes(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(length))).decode()


def decode_id(text: str) -> tuple[int, bytes]:
    """The table number and the internal id. Raises ValueError for a string that is no id."""
    raw = _read(text)
    if raw is None:
        raise ValueError(f"{text[:40]!r} is no document id")
    table = 0
    for place, byte in enumerate(raw[:-16]):
        table |= (byte & 127) << 7 * place
    return table, raw[-16:]


def table_of(text: str) -> int | None:
    """The table number of an id; None for a string that is none."""
    known = _tables.get(text)
    if known is None and (known := _read_table(text)) is not None:
        if len(_tables) >= _TABLES_MAX:
            _tables.clear()
        _tables[text] = known
    return known


def _read_table(text: str) -> int | None:
    raw = _read(text)
    if raw is None:
        return None
    if len(raw) == 18:
        return raw[0] & 127 | raw[1] << 7
    return decode_id(text)[0]


def _read(text: str) -> bytes | None:
    """What an id says in front of its check sum, if all of it is right."""
    length = len(text)
    size = _BYTES_BY_LENGTH.get(length)
    if size is None:
        return None
    try:
        number = int(text.encode().translate(_to_digits), 32)
    except ValueError:
        return None
    padding = 5 * length - 8 * size
    if number & (1 << padding) - 1:
        return None
    number >>= padding
    raw = (number >> 16).to_bytes(size - 2, "big")
    if number & 0xFFFF != _fletcher(raw):
        return None
    # The table number in front must be what _vint writes: each byte but its last continues, and its last is not an empty one.
    if size == 20:
        return raw if raw[0] > 127 and 0 < raw[1] < 128 else None
    *more, last = raw[:-16]
    if last > 127 or not last or any(byte < 128 for byte in more) or (size == 23 and last > 15):
        return None
    return raw


def new_internal(random: Random, ms: int) -> bytes:
    """16 bytes for a new id: six for the milliseconds since the epoch, then ten random ones.

    So new documents lie side by side in storage, and a batch of them is a page or two instead of one for each.
    """
    return ((ms & 0xFFFF_FFFF_FFFF) << 80 | random.getrandbits(80)).to_bytes(16, "big")
