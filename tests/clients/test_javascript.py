"""The npm package `convex`, unmodified: one script a topic, each with tests of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import HERE, Served


def node(script: str, server: Served) -> None:
    done = subprocess.run(
        ["node", "--test-reporter=spec", str(HERE / script)], env=server.environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", ["http.mjs", "socket.mjs", "auth.mjs", "pagination.mjs", "react.mjs"])
def test_the_javascript_clients(script: str, server: Served, node_modules: Path) -> None:
    node(script, server)


def test_a_mutation_is_done_once_though_the_server_dies_under_it(serve: Callable[..., Served], node_modules: Path) -> None:
    doomed = serve("--die-after", "counter:add")
    client = subprocess.Popen(["node", "--test-reporter=spec", str(HERE / "reconnect.mjs")], env=doomed.environment, stdout=subprocess.PIPE)
    doomed.process.wait(30)
    serve("--port", str(doomed.port))
    out, _ = client.communicate(timeout=60)
    assert client.returncode == 0, out.decode()


def test_the_hook_of_the_rate_limiter(serve: Callable[..., Served], node_modules: Path) -> None:
    node("rate_limit.mjs", serve("--app", "limited"))


def test_in_production_clients_are_told_little(serve: Callable[..., Served], node_modules: Path) -> None:
    node("redacted.mjs", serve("--serve"))


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["counter:add", '{"n":5,"name":"cli"}'], 0, "5"),
        (["counter:addSecretly", '{"n":1,"name":"cli secret"}'], 0, "1"),
        (["--component", "shelf", "put", '{"title":"from the CLI"}'], 0, '"'),
        (["echoes:failQuery", '{"how":"plain"}'], 1, "plainly wrong"),
    ],
)
def test_the_command_line_client_runs_functions(arguments: list[str], status: int, said: str, server: Served, node_modules: Path) -> None:
    facts = {"CONVEX_SELF_HOSTED_URL": server.url, "CONVEX_SELF_HOSTED_ADMIN_KEY": server.admin_key}
    command = ["node", str(node_modules / "convex" / "bin" / "main.js"), "run", *arguments]
    done = subprocess.run(command, env={**server.environment, **facts}, cwd=HERE, capture_output=True, text=True, timeout=60)
    assert done.returncode == status and said in done.stdout + done.stderr, done.stdout + done.stderr
