"""How a served backend logs: lines for a person at a terminal, `key=value` lines for whatever collects them elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

from interlock.errors import InterlockError, WriteConflict
from interlock.hooks import Call, Outcome, hookimpl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import Processor

_calls = structlog.get_logger("interlock.calls")


def configure_logs(*, readable: bool | None = None, level: int = logging.INFO) -> None:
    """Logs go to stderr, from `level` on. Called by commands, never by an embedded backend: there the embedding program decides."""
    if readable is None:
        readable = sys.stderr.isatty()
    processors: Sequence[Processor] = (
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if readable else "iso", utc=not readable),
        structlog.processors.StackInfoRenderer(),
    )
    last: tuple[Processor, ...]
    if readable:
        last = (
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), sort_keys=False, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            ),
        )
    else:
        last = (
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False),
        )
    structlog.configure(
        processors=[*processors, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *processors],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler])


def _told(error: BaseException) -> str:
    """An error in a line. The text of one that is no error of Interlock's may hold anything; the line after it has it, masked."""
    return f"{type(error).__name__}: {error}" if isinstance(error, InterlockError) else type(error).__name__


class CallLog:
    """A plugin of the backend: one line for each call from outside, as soon as it has ended."""

    @hookimpl
    def call_finished(self, call: Call, outcome: Outcome) -> None:
        if call.depth > 0:
            return
        name = f"{call.function.component_path}/{call.function.name}" if call.function.component_path else call.function.name
        facts = {"kind": call.function.kind, "ms": round(outcome.duration_ms, 1), "by": call.source}
        if outcome.error is None:
            _calls.info(name, **facts)
        elif isinstance(outcome.error, WriteConflict) and outcome.error.runs_again:
            _calls.info(f"{name} runs again: what it had read was written meanwhile", **facts)
        else:
            _calls.error(name, **facts, error=_told(outcome.error), request_id=call.request_id)
