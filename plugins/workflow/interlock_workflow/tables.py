"""The rows of workflows: what is known of a run, its recorded steps, the events that were sent to it."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from interlock import Table

Row = dict[str, Any]
LIVE = ("running", "paused")
ENDED = ("completed", "failed", "canceled")


class Parent(TypedDict):
    """The step that a run belongs to."""

    workflow: str
    number: int
    generation: int


class Waits(TypedDict):
    """Where the function of a run waits in memory, maybe: under which name, and the number of the first step that it may wait for."""

    name: str
    since: int


workflows = (
    Table(
        {
            "name": str,
            "handle": str,
            "version": NotRequired[int],  # of the code that it began with
            "args": str | int,
            "state": Literal["running", "paused", "completed", "failed", "canceled"],
            "generation": int,  # counts cancels and restarts: reports of another one are dropped
            "run": int,  # counts `continue_as_new`
            "seed": NotRequired[str],  # of its randomness; its id if it is no fork
            "base": int,  # the number of the first step that counts
            "steps": int,  # the number of the next one
            "open": int,  # steps in progress
            "key": NotRequired[str],
            "on_complete": NotRequired[str],
            "context": NotRequired[str | int],
            "on_complete_error": NotRequired[str],
            "parent": NotRequired[Parent],
            "begins": NotRequired[bool],  # its first turn is planned by its caller, and was not yet
            "waits": NotRequired[Waits],
            "stalled": NotRequired[str],  # why its turn could not be run
            "started": float,
            "ended": NotRequired[float],
            "result": NotRequired[str | int],
            "error": NotRequired[str],
            "keep_for": NotRequired[float],
            "expires": NotRequired[float],
        }
    )
    .index("state", "state")
    .index("name", "name", "state")
)

# Apart from the runs, because most of them have neither.
keys = Table({"key": str, "workflow": str}).index("key", "key")
expiries = Table({"at": float, "workflow": str}).index("at", "at")

# Steps that were done in one turn, one after another: `entries` is text, a list of them. `number` is that of the last one.
pages = Table({"workflow": str, "number": int, "at": float, "entries": str}).index("workflow", "workflow", "number")

# Steps that are waited for, and those with long arguments or results.
steps = (
    Table(
        {
            "workflow": str,
            "number": int,
            "key": str,  # name and how many of that name came before
            "name": str,
            "kind": Literal["query", "mutation", "action", "workflow", "sleep", "event", "patch"],
            "digest": str,  # of the arguments
            "args": str | int,
            "state": Literal["running", "success", "failed", "canceled"],
            "awaits": NotRequired[str],  # the event of this name
            "at": float,
            "ended": NotRequired[float],
            "value": NotRequired[str | int],
            "held_by": NotRequired[str],  # the event whose long value it is
            "error": NotRequired[str],
            "work": NotRequired[str],  # in the pool
            "job": NotRequired[str],  # that ends a sleep or a wait
            "child": NotRequired[str],  # the workflow
            "event": NotRequired[str],  # the event that it waits for, or has taken
        }
    )
    .index("workflow", "workflow", "number")
    .index("state", "workflow", "state", "number")
)

events = Table(
    {
        "workflow": str,
        "name": str,
        "state": Literal["created", "sent", "taken"],
        "value": NotRequired[str | int],
        "error": NotRequired[str],
        "step": NotRequired[str],  # that waits for it
    }
).index("workflow", "workflow", "name", "state")

config = Table({"max_parallelism": int})
