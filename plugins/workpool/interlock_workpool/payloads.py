"""Long texts of a work: kept in rows of their own, in parts, so that the queue reads short rows.

A field that may be long is a string, or the number of parts that it was cut into.
"""

from __future__ import annotations

from typing import Any

from interlock import AppError, MutationCtx, QueryCtx, Table

LONG = 8_000  # characters
PART = 250_000  # characters, of at most four bytes: a document holds 1 MiB
MOST = 4_000_000  # bytes
DROPPED_AT_ONCE = 20  # of the longest parts: 10 MB read

payloads = Table({"work": str, "field": str, "part": int, "text": str}).index("work", "work", "field", "part")


async def put_text(ctx: MutationCtx, work: str, field: str, text: str) -> str | int:
    """What to store in the field: the text, or in how many parts it is kept apart."""
    if len(text) <= LONG:
        return text
    parts = range(0, len(text), PART)
    for part, start in enumerate(parts):
        await ctx.db.insert("payloads", {"work": work, "field": field, "part": part, "text": text[start : start + PART]})
    return len(parts)


async def get_text(ctx: QueryCtx, work: dict[str, Any], field: str) -> str:
    """The whole text of a field."""
    stored = work[field]
    if isinstance(stored, str):
        return stored
    rows = await ctx.db.query("payloads").index("work", work=work["_id"], field=field).collect()
    return "".join([row["text"] for row in rows])


async def drop_texts(ctx: MutationCtx, work: str, field: str | None = None) -> bool:
    """Remove what is kept apart for a field, or for all; whether nothing is left of it."""
    where = {"work": work} if field is None else {"work": work, "field": field}
    rows = await ctx.db.query("payloads").index("work", **where).take(DROPPED_AT_ONCE)
    for row in rows:
        await ctx.db.delete(row["_id"])
    return len(rows) < DROPPED_AT_ONCE


def checked(what: str, text: str) -> str:
    """The text, if it is not too long for a work."""
    size = len(text) if text.isascii() else len(text.encode())
    if size > MOST:
        raise AppError({"code": "TOO_LARGE", "message": f"{what} of a work may be {MOST:,} bytes of JSON, got {size:,}"})
    return text
