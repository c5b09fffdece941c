"""Runs the documentation: every code block of README.md and docs/ does what the page says.

A page is run from top to bottom in a folder of its own. What happens to a block is said by its language and its first line:

- A block whose first line is a comment with a path (`# myapp/app.py`, `// web/main.js`, `<!-- web/index.html -->`) is that file;
  marked `append`, its lines go to the end of the file.
- `python`: run, in one namespace for the whole page; `await` may stand at the top.
- `console`: lines after `$ ` are commands. `interlock`, `pytest`, `mypy`, `python`, `node`, `curl`, `cp` and `mkdir` are run; of
  `make` the target must exist; `cd` goes there; `npm install` gives the packages of tests/clients; `pip`, `git` and the like are
  believed. Lines that follow a command have to be in its output, in that order; `…` stands for anything. A command that fails
  is followed by a line that begins with "error", or by `echo $?`. A server goes on until the page starts another or ends, on a
  free port that takes the place of 3210 everywhere.
- `toml` and `json` have to be readable.

Marked `no-run` a block is only compiled. Every app that a page has written has to pass `interlock check` at its end, and all code
that pages write into files has to pass `mypy --strict`.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import random
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
import structlog
from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent.parent
NODE_MODULES = ROOT / "tests/clients/node_modules"
PAGES = [
    path
    for path in (
        ROOT / "README.md",
        ROOT / "core/README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "plugins").glob("*/README.md")),
    )
    if path.is_file() and path.name != "tutorial.md"  # test_tutorial.py runs it, and goes on with what it has started
]
FILE_LINE = re.compile(r"(?:#|//|<!--)\s+([\w.-]+(?:/[\w.-]+)*\.\w+)(?:\s*-->)?\s*\Z")
RUN = {"interlock", "pytest", "mypy", "python", "node", "curl", "cp", "mkdir"}
SHOW_EXIT = "echo $?"
PROGRAMS = {"node", "curl", "cp", "mkdir"}
BELIEVED = {"pip", "git", "source", "python3"}
READY_S = 120


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. `line` is where its text begins."""

    language: str
    marks: frozenset[str]
    text: str
    line: int

    @property
    def file(self) -> str | None:
        first = self.text.split("\n", 1)[0]
        found = FILE_LINE.match(first)
        return found[1] if found and self.language not in {"console", "sh", "bash"} else None


def blocks_of(text: str) -> list[Block]:
    found = []
    for token in MarkdownIt().parse(text):
        if token.type == "fence" and token.map is not None:
            language, *marks = token.info.split() or [""]
            found.append(Block(language, frozenset(marks), token.content, token.map[0] + 2))
    return found


class Stage:
    """Where one page is run: a folder, a namespace, a port, and the servers that the page has started."""

    def __init__(self, page: str, folder: Path) -> None:
        self.page, self.folder, self.here = page, folder, folder
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.port = free_port()
        self.servers: list[Server] = []
        self.exit, self.may_fail = 0, False
        self.loop = asyncio.Runner()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("INTERLOCK")}
        self.env |= {
            "INTERLOCK_PORT": str(self.port),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }

    def run(self, block: Block) -> None:
        block = Block(block.language, block.marks, re.sub(r"\b3210\b", str(self.port), block.text), block.line)
        if block.language == "python":
            code = self.compile(block)
            if block.file is None and "no-run" not in block.marks:
                self.execute(code)
        if block.file is not None and "no-run" not in block.marks:
            self.write(block, block.file)
        elif block.language == "console" and "no-run" not in block.marks:
            commands = list(commands_of(block))
            for at, (line, command, expected) in enumerate(commands):
                self.may_fail = any(following == SHOW_EXIT for _, following, _ in commands[at + 1 : at + 2])
                self.command(line, command, expected)
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "json":
            json.loads(block.text)

    def finish(self) -> None:
        """Every app that the page has made has to be one that starts."""
        for config in sorted(self.folder.rglob("app.py")):
            checked = subprocess.run(
                [sys.executable, "-m", "interlock.cli", "check", str(config.parent)], env=self.env, capture_output=True, text=True
            )
            assert checked.returncode == 0, f"{self.page}: interlock check {config.parent.name}\n{checked.stdout}{checked.stderr}"

    def close(self) -> None:
        for server in self.servers:
            server.stop()
        self.loop.close()

    def compile(self, block: Block) -> CodeType:
        padded = "\n" * (block.line - 1) + block.text
        code: CodeType = compile(padded, self.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        return code

    def execute(self, code: CodeType) -> None:
        async def run() -> None:
            result = eval(code, self.names)
            if inspect.isawaitable(result):
                await result

        self.loop.run(run())

    def write(self, block: Block, path: str) -> None:
        file = self.here / path
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_text(encoding="utf-8") if "append" in block.marks else ""
        marks = [server.mark() for server in self.servers]
        file.write_text(before + block.text, encoding="utf-8")
        if file.suffix == ".py" and not file.name.startswith(("test_", "_")):
            for server, mark in zip(self.servers, marks, strict=True):
                if file.is_relative_to(server.app):
                    server.wait_for_reload(file, mark)

    def command(self, line: int, command: str, expected: list[str]) -> None:
        where = f"{self.page}:{line}: {command}"
        if command == SHOW_EXIT:
            assert expected == [str(self.exit)], f"{where}: it was {self.exit}"
            return
        name, *arguments = shlex.split(command, comments=True)
        if name == "cd":
            self.here = (self.here / arguments[0]).resolve()
            assert self.here.is_dir(), f"{where}: there is no such folder"
        elif name == "make":
            targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert {word for word in arguments if "=" not in word} <= set(targets), f"{where}: the Makefile has no such target"
        elif name == "npm":
            assert arguments[:1] == ["install"] and all((NODE_MODULES / package).is_dir() for package in arguments[1:]), (
                f"{where}: not among the packages of {NODE_MODULES.parent}. Run: make env"
            )
            (self.here / "node_modules").symlink_to(NODE_MODULES)
        elif name == "interlock" and arguments[:1] in (["dev"], ["serve"]) and "--once" not in arguments and not self.may_fail:
            while self.servers:
                self.servers.pop().stop()
            self.servers.append(Server(arguments, self.here, self.env, where))
        elif name in RUN:
            self.run_to_its_end(name, arguments, expected, where)
        else:
            assert name in BELIEVED, f"{where}: nobody knows whether this works; mark the block no-run"

    def run_to_its_end(self, name: str, arguments: list[str], expected: list[str], where: str) -> None:
        program = shutil.which(name) if name in PROGRAMS else sys.executable
        if program is None and name == "curl":
            return  # not on every machine, and no part of what the page is about
        assert program is not None, f"{where}: there is no {name} here"
        module = {"interlock": ["-m", "interlock.cli"], "python": []}.get(name, [] if name in PROGRAMS else ["-m", name])
        answer = subprocess.run([program, *module, *arguments], cwd=self.here, env=self.env, capture_output=True, text=True)
        output = answer.stdout + answer.stderr
        self.exit = answer.returncode
        fails = self.may_fail or any(line.startswith("error") for line in expected)
        assert fails or self.exit == 0, f"{where} ended with {self.exit}:\n{output}"
        missing = first_missing(expected, output)
        assert missing is None, f"{where}: the page says\n  {missing}\nand the output is\n{output}"


class Server:
    """A server that a page has started. Its output is read as it comes."""

    def __init__(self, arguments: list[str], folder: Path, env: dict[str, str], where: str) -> None:
        named = [argument for argument in arguments[1:2] if not argument.startswith("-")]
        self.app = folder.joinpath(*named)
        command = [sys.executable, "-m", "interlock.cli", *arguments]
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        threading.Thread(target=self._read, daemon=True).start()
        assert self._wait(lambda line: "Serving" in line, 0), f"{where}: it did not start:\n{self.output}"

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def mark(self) -> int:
        return len(self._lines)

    def wait_for_reload(self, file: Path, mark: int) -> None:
        assert self._wait(lambda line: "Reloaded" in line or "goes on" in line, mark), f"{file} was not taken over:\n{self.output}"

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(READY_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()

    def _wait(self, wanted: Any, mark: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: any(wanted(line) for line in self._lines[mark:]), READY_S)


def commands_of(block: Block) -> Iterator[tuple[int, str, list[str]]]:
    """(line, command, output that follows it). A command goes on after a backslash at the end of its line."""
    lines = block.text.replace("\\\n", " ").splitlines()
    for at, line in enumerate(lines):
        if line.startswith("$ "):
            after = lines[at + 1 :]
            end = next((place for place, later in enumerate(after) if later.startswith("$ ")), len(after))
            yield block.line + at, line[2:], [later for later in after[:end] if later.strip() not in ("", "…")]


def first_missing(expected: list[str], output: str) -> str | None:
    """The first expected line that is not in what is left of the output."""
    lines = iter(output.splitlines())
    for line in expected:
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in line.split("…")))
        if not any(pattern.search(got) for got in lines):
            return line
    return None


def free_port() -> int:
    """One that stays free until the page starts its server: systems give none below 32,768 to who asks for any, other tests say."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with suppress(OSError), socket.socket() as listening:
            listening.bind(("127.0.0.1", port))
            return port


@contextmanager
def modules_restored() -> Iterator[None]:
    before = set(sys.modules)
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if not file.startswith((sys.prefix, sys.base_prefix, str(ROOT))):
                del sys.modules[name]


@contextmanager
def staged(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A page that was run from top to bottom; what it has started goes on in the block."""
    structlog.reset_defaults()  # a command that another test ran in this process may have sent all logs to a file that is closed now
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    name = page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name
    stage = Stage(name, folder)
    with modules_restored():
        try:
            for block in blocks_of(page.read_text(encoding="utf-8")):
                stage.run(block)
            stage.finish()
            yield stage
        finally:
            stage.close()


def run_page(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with staged(page, folder, monkeypatch):
        pass


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page(page, tmp_path, monkeypatch)


def written(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text.replace("'''", "```"))
    stage = folder / "stage"
    stage.mkdir()
    return page


def test_blocks_of_a_page_share_their_names_and_may_await(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = written(tmp_path, "'''python\nimport asyncio\nvalue = 1\n'''\n\n'''python\nawait asyncio.sleep(0)\nassert value == 1\n'''\n")
    run_page(page, tmp_path / "stage", monkeypatch)


def test_a_block_that_fails_is_told_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = written(tmp_path, "# Title\n\n'''python\nvalue = 1\nassert value == 2\n'''\n")
    with pytest.raises(AssertionError) as caught:
        run_page(page, tmp_path / "stage", monkeypatch)
    assert caught.traceback[-1].lineno + 1 == 5


def test_a_block_that_names_a_file_is_written_and_can_be_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written_twice = "'''python\n# pkg/names.py\nfirst = 1\n'''\n'''python append\n# pkg/names.py\nsecond = first + 1\n'''\n"
    page = written(tmp_path, written_twice + "'''python\nfrom pkg.names import second\nassert second == 2\n'''\n")
    run_page(page, tmp_path / "stage", monkeypatch)


def test_output_on_the_page_has_to_be_in_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = written(tmp_path, "'''console\n$ python -c 'print(\"one\\ntwo\\nthree\")'\none\n…ree\n'''\n")
    run_page(page, tmp_path / "stage", monkeypatch)
    page.write_text(page.read_text().replace("…ree", "four"))
    with pytest.raises(AssertionError, match="four"):
        run_page(page, tmp_path / "stage", monkeypatch)


def test_a_command_that_nobody_knows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = written(tmp_path, "'''console\n$ frobnicate --all\n'''\n")
    with pytest.raises(AssertionError, match="no-run"):
        run_page(page, tmp_path / "stage", monkeypatch)
    page.write_text(page.read_text().replace("console", "console no-run"))
    run_page(page, tmp_path / "stage", monkeypatch)


def test_code_that_pages_write_into_files_is_typed(tmp_path: Path, mypy_cache: Path) -> None:
    """Each page is a package here, all checked in one go. A file that a page writes twice is checked as it is at the end."""
    apps: set[str] = set()
    for page in [*PAGES, ROOT / "docs/tutorial.md"]:
        package = tmp_path / page.relative_to(ROOT).with_suffix("").as_posix().replace("/", "_").replace("-", "_")
        for block in blocks_of(page.read_text(encoding="utf-8")):
            if block.language == "python" and block.file is not None and "no-run" not in block.marks:
                apps.add(block.file.partition("/")[0].removesuffix(".py"))
                file = package / block.file
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text, encoding="utf-8")
    # Tests name their app as it is called beside them: `canteen.tally`.
    (tmp_path / "mypy.ini").write_text("[mypy]\n" + "".join(f"[mypy-{app}.*]\nignore_missing_imports = true\n" for app in sorted(apps)))
    options = ["--strict", "--explicit-package-bases"]
    cache = f"--cache-dir={mypy_cache}"
    env = {**os.environ, "MYPYPATH": os.pathsep.join(str(plugin) for plugin in (ROOT / "plugins").iterdir())}
    checked = subprocess.run([sys.executable, "-m", "mypy", *options, cache, "."], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
