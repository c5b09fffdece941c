"""The command line as tests use it: called in this process, or started as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from typer.testing import CliRunner, Result

from interlock.cli.main import app as command_line

PATIENCE_S = 60


def interlock(*arguments: str | Path, input: str | None = None) -> Result:
    # A command is a new process: it has nothing of an app imported yet.
    for name in [name for name in sys.modules if name.partition(".")[0] == "chat"]:
        del sys.modules[name]
    return CliRunner().invoke(command_line, [str(argument) for argument in arguments], input=input)


class Process:
    """A command that serves. Its output is read as it comes."""

    def __init__(self, *arguments: str | Path) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK")}
        command = [sys.executable, "-m", "interlock.cli", *map(str, arguments)]
        self._process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "".join(self._lines)

    @property
    def url(self) -> str:
        return self.wait_for("Serving").split(" at ")[1].split(",")[0].strip()

    def wait_for(self, text: str, times: int = 1) -> str:
        """The line in which `text` stands for the `times`-th time, as soon as it is there."""

        def found() -> list[str]:
            return [line for line in self._lines if text in line]

        with self._changed:
            self._changed.wait_for(lambda: len(found()) >= times or not self._reader.is_alive(), PATIENCE_S)
            lines = found()
        assert len(lines) >= times, f"it never said {text!r}:\n{self.output}"
        return lines[times - 1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
