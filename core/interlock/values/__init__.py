"""Values: what data is, how it looks on the wire and in storage, how it is ordered, identified and checked.

`types` has the types that Python lacks; `wire` is the JSON of the clients, `pack` the bytes of storage, `keys` the bytes
of indexes, `ids` the ids of documents; `annotations` turns annotations into the one validator language (`validators`), `comparison`
compares two of it, `checker` compiles it into functions. Pure and synchronous: knows no engine, no table, no function.

Start at `types`, then `keys.encode_keys` and `checker.compile_validator`.
"""

from interlock.values.annotations import fields_from, from_annotation
from interlock.values.checker import compile_validator
from interlock.values.comparison import fits_unchanged, is_subset
from interlock.values.ids import decode_id, encode_id, new_internal, table_of
from interlock.values.keys import after_values, decode_key, encode_key, encode_keys
from interlock.values.normal import normalize
from interlock.values.pack import COMMIT_TS_TOKEN, fill_commit_ts, pack, pack_for_now, size_of, unpack, unpack_all, with_tokens
from interlock.values.refusal import Mismatch
from interlock.values.types import LARGEST_INT, UNSET, CommitTimestamp, Id, Int64, Unset, is_identifier, is_key
from interlock.values.validators import (
    ANY,
    Json,
    describe,
    may_have_path,
    object_of,
    parse_validator,
    union_of,
)
from interlock.values.wire import dumps, from_wire, loads, to_json, to_wire

__all__ = [
    "ANY",
    "COMMIT_TS_TOKEN",
    "LARGEST_INT",
    "UNSET",
    "CommitTimestamp",
    "Id",
    "Int64",
    "Json",
    "Mismatch",
    "Unset",
    "after_values",
    "compile_validator",
    "decode_id",
    "decode_key",
    "describe",
    "dumps",
    "encode_id",
    "encode_key",
    "encode_keys",
    "fields_from",
    "fill_commit_ts",
    "fits_unchanged",
    "from_annotation",
    "from_wire",
    "is_identifier",
    "is_key",
    "is_subset",
    "loads",
    "may_have_path",
    "new_internal",
    "normalize",
    "object_of",
    "pack",
    "pack_for_now",
    "parse_validator",
    "size_of",
    "table_of",
    "to_json",
    "to_wire",
    "union_of",
    "unpack",
    "unpack_all",
    "with_tokens",
]
