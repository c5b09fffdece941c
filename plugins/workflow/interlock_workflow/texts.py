"""Long texts of workflows, steps and events: kept in rows of their own, in parts, so that a journal is read without them.

A field that may be long is a string, or the number of parts that it was cut into. `owner` is the id of the row with the field.
"""

from __future__ import annotations

from typing import Any

from interlock import AppError, MutationCtx, QueryCtx, Table

LONG = 8_000  # characters
PAGE = 64_000  # characters of steps that share a row
PART = 250_000  # characters, of at most four bytes: a document holds 1 MiB
MOST = 4_000_000  # bytes
DROPPED_AT_ONCE = 20  # of the longest parts: 10 MB read

texts = Table({"owner": str, "field": str, "part": int, "text": str}).index("owner", "owner", "field", "part")


def is_long(text: str) -> bool:
    """Whether it is to be kept apart."""
    return len(text) > LONG


def checked(what: str, text: str) -> str:
    """The text, if it is not too long to be kept at all."""
    size = bytes_of(text)
    if size > MOST:
        raise AppError({"code": "TOO_LARGE", "message": f"{what} may be {MOST:,} bytes of JSON, got {size:,}"})
    return text


def bytes_of(text: str) -> int:
    """Its size when it is stored."""
    return len(text) if text.isascii() else len(text.encode())


async def put_text(ctx: MutationCtx, owner: str, field: str, text: str) -> str | int:
    """What to store in the field: the text, or in how many parts it is kept apart."""
    if not is_long(text):
        return text
    parts = range(0, len(text), PART)
    for part, start in enumerate(parts):
        await ctx.db.insert("texts", {"owner": owner, "field": field, "part": part, "text": text[start : start + PART]})
    return len(parts)


async def get_text(ctx: QueryCtx, row: dict[str, Any], field: str) -> str:
    """The whole text of a field."""
    stored = row[field]
    if isinstance(stored, str):
        return stored
    owner = row.get("held_by", row["_id"]) if field == "value" else row["_id"]
    rows = await ctx.db.query("texts").index("owner", owner=owner, field=field).collect()
    return "".join([part["text"] for part in rows])


async def drop_texts(ctx: MutationCtx, owner: str, field: str | None = None) -> bool:
    """Remove what is kept apart for a field, or for all; whether nothing is left of it."""
    where = {"owner": owner} if field is None else {"owner": owner, "field": field}
    rows = await ctx.db.query("texts").index("owner", **where).take(DROPPED_AT_ONCE)
    for row in rows:
        await ctx.db.delete(row["_id"])
    return len(rows) < DROPPED_AT_ONCE
