"""`interlock limits`: the limits in force."""

from __future__ import annotations

from dataclasses import asdict

from interlock.cli.console import AsJson, print_json, print_table
from interlock.limits import LIMITS, Limit


def limits(as_json: AsJson = False) -> None:
    """Print every limit that is in force.

    A mount or a call can be given less of one: app.use(…, limits=Limits(documents_read=1_000)).

    \b
    Examples:
      interlock limits
      interlock limits --json
    """
    if as_json:
        print_json([asdict(limit) for limit in LIMITS.values()])
        return
    print_table(("LIMIT", "VALUE", "OF"), [(limit.name, amount(limit), limit.says) for limit in LIMITS.values()])


def amount(limit: Limit) -> str:
    """The value as a person writes it."""
    if limit.unit == "bytes":
        return size(int(limit.value))
    number = f"{limit.value:,g}" if limit.value < 1_000_000 else f"{limit.value:,.0f}"
    return number if limit.unit == "count" else f"{number} {limit.unit}"


def size(count: int) -> str:
    """16,777,216 bytes are 16 MiB; what is no round number of a unit gets one decimal."""
    for unit, power in (("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if count >= 1024**power:
            number = count / 1024**power
            return f"{number:,.0f} {unit}" if number == int(number) else f"{number:,.1f} {unit}"
    return f"{count:,} bytes"
