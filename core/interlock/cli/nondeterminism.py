"""Finds what would make a query or mutation answer differently when it runs again: clocks, randomness, files, sockets, threads;
and what it forgot to await, which would not happen at all.

A reading of the source: nothing is imported. It follows a function into the helpers of its own module, not into other modules;
the sandbox enforces the rule at run time, this tells early and says what to write instead.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TIME = "use ctx.now(), the time of the transaction"
_WAITS = "use ctx.scheduler.run_after(seconds, …), or wait in an action"
_RANDOM = "use ctx.random"
_UUID = "use ctx.uuid4()"
_FILES = "do it in an action and pass the result as an argument"
_NETWORK = "use ctx.fetch in an action and pass the result as an argument"
_PROCESSES = "do it in an action"
_THREADS = "do it in an action; what asks ctx several things at once is asyncio.gather"
_ENVIRONMENT = "use ctx.env"
_HASH = "use hashlib; hash() differs from process to process"

# By dotted name; a trailing dot stands for everything below it.
INSTEAD = {
    "time.time": _TIME,
    "time.time_ns": _TIME,
    "time.monotonic": _TIME,
    "time.monotonic_ns": _TIME,
    "time.perf_counter": _TIME,
    "time.perf_counter_ns": _TIME,
    "time.process_time": _TIME,
    "time.localtime": _TIME,
    "time.gmtime": _TIME,
    "time.sleep": _WAITS,
    "asyncio.sleep": _WAITS,
    "select.": _WAITS,
    "datetime.datetime.now": _TIME,
    "datetime.datetime.utcnow": _TIME,
    "datetime.datetime.today": _TIME,
    "datetime.date.today": _TIME,
    "random.": _RANDOM,
    "_random.": _RANDOM,
    "secrets.": _RANDOM,
    "numpy.random.": _RANDOM,
    "os.urandom": "use ctx.random.randbytes(n)",
    "os.getrandom": "use ctx.random.randbytes(n)",
    "uuid.uuid1": _UUID,
    "uuid.uuid4": _UUID,
    "os.environ": _ENVIRONMENT,
    "os.getenv": _ENVIRONMENT,
    "os.getpid": _PROCESSES,
    "os.listdir": _FILES,
    "os.open": _FILES,
    "os.remove": _FILES,
    "os.scandir": _FILES,
    "os.walk": _FILES,
    "os.popen": _PROCESSES,
    "os.system": _PROCESSES,
    "subprocess.": _PROCESSES,
    "asyncio.create_subprocess_exec": _PROCESSES,
    "asyncio.create_subprocess_shell": _PROCESSES,
    "open": _FILES,
    "io.open": _FILES,
    "input": _FILES,
    "tempfile.": _FILES,
    "shutil.": _FILES,
    "sqlite3.connect": _FILES,
    "requests.": _NETWORK,
    "httpx.": _NETWORK,
    "aiohttp.": _NETWORK,
    "urllib.request.": _NETWORK,
    "http.client.": _NETWORK,
    "socket.": _NETWORK,
    "asyncio.open_connection": _NETWORK,
    "smtplib.": _NETWORK,
    "threading.": _THREADS,
    "multiprocessing.": _THREADS,
    "concurrent.futures.": _THREADS,
    "asyncio.to_thread": _THREADS,
    "hash": _HASH,
}
_PATH_METHODS = {
    "read_text",
    "read_bytes",
    "write_text",
    "write_bytes",
    "open",
    "iterdir",
    "glob",
    "rglob",
    "exists",
    "stat",
    "unlink",
    "mkdir",
}
_SEEDED = {"random.Random"}  # with a seed it is as good as a constant
_KINDS = {"query", "mutation", "trigger"}
_AWAITED = {
    *("db.insert", "db.patch", "db.replace", "db.delete"),
    *("scheduler.run_after", "scheduler.run_at", "scheduler.cancel"),
    *("run_query", "run_mutation"),
}
"""What a context does when it is awaited, and else does not do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One place in the source. `through` names the helper in which it stands, when it is not the function itself."""

    file: Path
    line: int
    function: str
    uses: str
    instead: str
    through: str = ""

    def __str__(self) -> str:
        through = f" through {self.through}()" if self.through else ""
        return f"{self.file}:{self.line}: {self.function} uses {self.uses}{through}: {self.instead}"


def find_nondeterminism(file: Path) -> list[Finding]:
    """What the queries, mutations and triggers of one module should not use. The file must be valid Python."""
    module = _Module(ast.parse(file.read_bytes(), filename=str(file)))
    found: dict[tuple[int, str], Finding] = {}
    for function in module.transactions():
        for line, name, instead, through in module.uses(function):
            found.setdefault((line, name), Finding(file, line, function.name, name, instead, through))
    return sorted(found.values(), key=lambda finding: finding.line)


_Function = ast.FunctionDef | ast.AsyncFunctionDef


class _Module:
    """The names of one module: what its imports stand for, and its functions by name."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._imported: dict[str, str] = {}
        self._functions: dict[str, _Function] = {}
        for node in ast.walk(tree):
            match node:
                case ast.Import():
                    for name in node.names:
                        top = name.name.split(".")[0]
                        self._imported[name.asname or top] = name.name if name.asname else top
                case ast.ImportFrom(module=str(module), level=0):
                    for name in node.names:
                        self._imported[name.asname or name.name] = f"{module}.{name.name}"
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self._functions.setdefault(node.name, node)
        stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        self._builtins = {name for name in INSTEAD if "." not in name} - stored - set(self._imported) - set(self._functions)

    def transactions(self) -> list[_Function]:
        """The functions that run in a transaction: decorated as query or mutation, or registered as a trigger."""
        found = {}
        for node in ast.walk(self._tree):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() if any(self._is_transaction(mark) for mark in node.decorator_list):
                    found[node.name] = node
                case ast.Call(func=ast.Call() as made, args=[ast.Name(id=name)]) if self._is_transaction(made) and name in self._functions:
                    found[name] = self._functions[name]
        return list(found.values())

    def uses(self, function: _Function) -> Iterator[tuple[int, str, str, str]]:
        """(line, what is used, what to write instead, through which helper) of `function` and the helpers that it calls in this module."""
        seen = {function.name}
        waiting = [(function, "")]
        while waiting:
            current, through = waiting.pop()
            for node in _expressions(current):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in self._functions
                    and node.func.id not in seen
                ):
                    seen.add(node.func.id)
                    waiting.append((self._functions[node.func.id], node.func.id))
                refused = self._refused(node)
                if refused:
                    yield node.lineno, *refused, through
            for line, called in _forgotten(current):
                yield line, f"{called} without await", f"it does not happen then; write await {called}(…)", through

    def _is_transaction(self, decorator: ast.expr) -> bool:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(target, ast.Attribute):
            return target.attr in _KINDS
        return isinstance(target, ast.Name) and self._imported.get(target.id) in {f"interlock.{kind}" for kind in _KINDS}

    def _refused(self, node: ast.expr) -> tuple[str, str] | None:
        """(what, instead) where the expression uses something that INSTEAD knows."""
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in self._builtins:
                return name, INSTEAD[name]
            case ast.Call(func=ast.Attribute(attr=method, value=ast.Call(func=made))) if (
                method in _PATH_METHODS and self._dotted(made) == "pathlib.Path"
            ):
                return f"Path.{method}", _FILES
            case ast.Call(func=called, args=args):
                name = self._dotted(called)
                return None if name in _SEEDED and args else _rule(name)
            case ast.Attribute() | ast.Name() if self._dotted(node) == "os.environ":
                return _rule("os.environ")
        return None

    def _dotted(self, node: ast.expr) -> str:
        """The full name of what an expression refers to, if it starts at an import."""
        match node:
            case ast.Name(id=name):
                return self._imported.get(name, "")
            case ast.Attribute(value=value, attr=attr):
                below = self._dotted(value)
                return f"{below}.{attr}" if below else ""
        return ""


def _expressions(function: _Function) -> Iterator[ast.expr]:
    """Every expression of the body; those of functions nested in it too, for they run as part of it."""
    for statement in function.body:
        yield from (node for node in ast.walk(statement) if isinstance(node, ast.expr))


def _forgotten(function: _Function) -> Iterator[tuple[int, str]]:
    """The operations of the function's context that stand alone, with nobody to await them."""
    parameters = [*function.args.posonlyargs, *function.args.args]
    for node in ast.walk(function):
        match node:
            case ast.Expr(value=ast.Call(func=ast.Attribute() as called)):
                context, _, operation = ast.unparse(called).partition(".")
                if operation in _AWAITED and any(context == parameter.arg for parameter in parameters[:1]):
                    yield node.lineno, f"{context}.{operation}"


def _rule(name: str) -> tuple[str, str] | None:
    """The entry of INSTEAD that covers a dotted name."""
    if name in INSTEAD:
        return name, INSTEAD[name]
    parts = name.split(".")
    for end in range(1, len(parts)):
        prefix = ".".join(parts[:end]) + "."
        if prefix in INSTEAD:
            return name, INSTEAD[prefix]
    return None
