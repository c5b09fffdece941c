"""Ids: one text each, and no other text is one."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.values import decode_id, encode_id, ids, new_internal, table_of

COUNTING = bytes(range(16)).hex()
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

VECTORS = [
    (10_001, "00" * 16, "j5700000000000000000000000001qv0"),
    (10_001, COUNTING, "j57000820c20a1g7104gm2rc1m70ynr8"),
    (10_002, "00112233445566778899aabbccddeeff", "j97004926d25askqh2ctneycvqqfzp4t"),
    (1, "00" * 16, "0400000000000000000000000000248"),
    (2**32 - 1, "ff" * 16, "zzzzzzrfzzzzzzzzzzzzzzzzzzzzzzzzzzxjj"),
    (540, "7c75fb4a61fb003ca5a2086f49134d1a", "kg27rxfv99gzp01wmph0gvt92d6hnvy6"),
    (127, "ff" * 16, "fzzzzzzzzzzzzzzzzzzzzzzzzzzpzsr"),
    (128, COUNTING, "g00g00820c20a1g7104gm2rc1m70zyds"),
    (2**32 - 1, COUNTING, "zzzzzzrf000g40r40m30e209185gr38e1y1nj"),
]
tables = (
    st.integers(1, 2**32 - 1) | st.integers(1, 20_000) | st.sampled_from([1, 127, 128, 16_383, 16_384, 2**21 - 1, 2**21, 2**28 - 1, 2**28])
)
internals = st.binary(min_size=16, max_size=16)


def model(table: int, internal: bytes) -> str:
    """The rules of the specification, one after the other."""
    raw = bytearray()
    while table >= 128:
        raw.append(table % 128 + 128)
        table //= 128
    raw.append(table)
    raw += internal
    c0 = c1 = 0
    for byte in raw:
        c0 = (c0 + byte) % 256
        c1 = (c1 + c0) % 256
    raw += (c1 * 256 + c0).to_bytes(2, "little")
    bits = "".join(f"{byte:08b}" for byte in raw)
    bits += "0" * (-len(bits) % 5)
    return "".join(ALPHABET[int(bits[at : at + 5], 2)] for at in range(0, len(bits), 5))


@pytest.mark.parametrize(("table", "internal", "text"), VECTORS, ids=[text for *_, text in VECTORS])
def test_an_id_has_the_text_of_the_specification(table: int, internal: str, text: str) -> None:
    assert encode_id(table, bytes.fromhex(internal)) == text
    assert decode_id(text) == (table, bytes.fromhex(internal))
    assert table_of(text) == table


@given(tables, internals)
def test_an_id_is_what_the_rules_say_and_decodes_to_what_it_was_made_of(table: int, internal: bytes) -> None:
    text = encode_id(table, internal)
    assert text == model(table, internal)
    assert 31 <= len(text) <= 37
    assert decode_id(text) == (table, internal)
    assert table_of(text) == table


@given(tables, internals, st.data())
def test_a_text_with_one_letter_changed_is_accepted_only_if_it_is_an_id_itself(table: int, internal: bytes, data: st.DataObject) -> None:
    text = encode_id(table, internal)
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from(ALPHABET + "ilouAZ_- +é\0"))
    changed = text[:at] + letter + text[at + 1 :]
    number = table_of(changed)
    if number is not None:
        assert model(*decode_id(changed)) == changed
        assert decode_id(changed)[0] == number


@given(st.text(max_size=40) | st.text(ALPHABET, min_size=30, max_size=38))
def test_any_other_text_is_no_id(text: str) -> None:
    if table_of(text) is None:
        with pytest.raises(ValueError):
            decode_id(text)
    else:
        assert model(*decode_id(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "j57000820c20a1g7104gm2rc1m70ynr9",
        "j57000820c20a1g7104gm2rc1m70ynr8".upper(),
        " j57000820c20a1g7104gm2rc1m70ynr",
        "j57000820c20a1g7104gm2rc1m70ynr8\n",
        "j57000820c20a1g7104gm2rc1m70ynr80",
        "0400000000000000000000000000249",
        "\ud800" * 32,
        "é" * 16,
        "1" * 33,
    ],
)
def test_a_text_that_is_nearly_an_id_is_none(text: str) -> None:
    assert table_of(text) is None
    with pytest.raises(ValueError):
        decode_id(text)


@pytest.mark.parametrize("number", [b"\x00", b"\x80\x00", b"\x81\x00", b"\x81\x80\x00", b"\xff\xff\xff\xff\x1f", b"\x81\x81"])
def test_a_table_number_that_is_not_in_its_shortest_form_makes_no_id(number: bytes) -> None:
    raw = number + bytes(16)
    c0 = c1 = 0
    for byte in raw:
        c0 = (c0 + byte) % 256
        c1 = (c1 + c0) % 256
    raw += bytes([c0, c1])
    bits = "".join(f"{byte:08b}" for byte in raw)
    bits += "0" * (-len(bits) % 5)
    text = "".join(ALPHABET[int(bits[at : at + 5], 2)] for at in range(0, len(bits), 5))
    assert table_of(text) is None


@pytest.mark.parametrize("table", [0, -1, 2**32])
def test_a_number_that_no_table_has_makes_no_id(table: int) -> None:
    with pytest.raises(ValueError):
        encode_id(table, bytes(16))


def test_an_internal_id_is_the_time_and_ten_random_bytes() -> None:
    now = 1_800_000_000_000
    one, other = new_internal(random.Random(7), now), new_internal(random.Random(7), now)
    assert one == other
    assert len(one) == 16
    assert one[:6] == now.to_bytes(6, "big")
    numbers = random.Random(7)
    assert len({new_internal(numbers, now) for _ in range(1_000)}) == 1_000


def test_ids_of_one_table_are_in_the_order_of_their_milliseconds() -> None:
    numbers = random.Random(7)
    made = [encode_id(10_001, new_internal(numbers, 1_800_000_000_000 + 977 * n)) for n in range(1_000)]
    assert made == sorted(made)


def test_ids_whose_tables_are_known_are_a_bounded_number_and_other_texts_are_not_kept() -> None:
    text = "no id, and of any length" * 1_000
    held = sys.getrefcount(text)
    assert table_of(text) is None
    assert sys.getrefcount(text) == held
    for number in range(ids._TABLES_MAX + 10):
        assert table_of(encode_id(10_001, number.to_bytes(16, "big"))) == 10_001
    assert len(ids._tables) <= ids._TABLES_MAX
