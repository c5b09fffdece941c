"""What a served backend writes to stderr, in a process of its own: the logs of a process are set up once."""

from __future__ import annotations

import subprocess
import sys

import pytest
import structlog

from interlock.cli.logs import CallLog
from interlock.errors import WriteConflict
from interlock.hooks import Call, Outcome
from interlock.sdk.host import FunctionInfo

PROGRAM = """
import logging, sys
import structlog
from interlock.cli.logs import configure_logs

configure_logs(readable=sys.argv[1] == "readable")
structlog.get_logger("interlock").info("ours", n=1)
logging.getLogger("uvicorn.error").info("not worth a line")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("interlock.server").exception("a message of %s", "a client")
"""


def written(how: str) -> list[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stderr.splitlines()


def test_lines_of_libraries_have_the_form_of_all_others() -> None:
    ours, theirs = written("key=value")
    assert ours.startswith("timestamp=") and "level=info event=ours n=1" in ours
    assert theirs.startswith("timestamp=") and 'level=error event="a message of a client" logger=interlock.server' in theirs
    assert "ZeroDivisionError" in theirs


@pytest.mark.parametrize("said", ["ours", "a message of a client", "ZeroDivisionError: division by zero"])
def test_who_reads_along_sees_them_too(said: str) -> None:
    lines = written("readable")
    assert any(said in line for line in lines) and not any("not worth" in line for line in lines)


def test_an_attempt_that_lost_is_no_error_and_a_conflict_that_ended_a_call_is_one() -> None:
    call = Call(FunctionInfo("notes:add", "mutation", ""), "r1", "client", 0)
    lost, ended = (WriteConflict("notes:add", "", (), "another mutation") for _ in range(2))
    lost.runs_again = True
    with structlog.testing.capture_logs() as lines:
        CallLog().call_finished(call, Outcome(1.0, lost))
        CallLog().call_finished(call, Outcome(1.0, ended))
    assert [line["log_level"] for line in lines] == ["info", "error"]
    assert "runs again" in lines[0]["event"]
    assert "met its deadline while it waited for another mutation" in lines[1]["error"]
