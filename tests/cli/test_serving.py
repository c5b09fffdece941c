"""`interlock serve` and `interlock dev` as processes: started, asked, changed and stopped."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from convex import ConvexClient

from .commands import Process, interlock

Start = Callable[..., Process]


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def test_a_server_answers_until_it_is_told_to_stop(chat: Path, start: Start) -> None:
    server = start("serve", chat, "--port", "0")
    assert get(f"{server.url}/version")
    assert (chat / ".interlock/server.json").is_file()
    assert server.stop() == 0
    assert not (chat / ".interlock/server.json").exists()
    assert "Traceback" not in server.output


def test_an_app_whose_directory_cannot_be_written_is_served_without_types(chat: Path) -> None:
    (chat / "_generated.py").mkdir()
    answer = interlock("dev", "--once", chat, "--data", ":memory:")
    assert answer.exit_code == 0, answer.output
    assert "_generated.py cannot be written" in answer.stderr and "Traceback" not in answer.output


def test_commands_ask_the_server_that_has_the_data(chat: Path, start: Start) -> None:
    server = start("serve", chat, "--port", "0")
    assert server.url
    sent = interlock("run", "messages:send", '{"author": "ada", "body": "hello"}', "--app", chat)
    assert sent.exit_code == 0, sent.output
    assert json.loads(interlock("run", "messages:bodies", "--app", chat).stdout) == ["hello"]
    assert interlock("run", "messages:wipe", "--app", chat).stdout == "1\n"
    assert interlock("run", "add", '{"name": "beans"}', "--component", "votes", "--app", chat).stdout == "1\n"
    assert [row["name"] for row in json.loads(interlock("data", "--app", chat, "--json").stdout)] == ["messages"]
    assert [row["name"] for row in json.loads(interlock("data", "counts", "--component", "votes", "--app", chat, "--json").stdout)] == [
        "beans"
    ]
    assert [mount["path"] for mount in json.loads(interlock("components", chat, "--json").stdout)] == ["", "votes"]

    failed = interlock("run", "messages:refuse", "--app", chat, "--json")
    assert failed.exit_code == 1
    assert json.loads(failed.stderr)["error"]["data"] == {"code": "closed"}
    assert "Did you mean messages:bodies?" in interlock("run", "messages:bodys", "--app", chat).stderr
    assert "for 'bodies'. There are: messages:" in interlock("run", "bodies", "--app", chat).stderr
    unknown = interlock("data", "mesages", "--app", chat)
    assert unknown.exit_code == 1
    assert "messages" in unknown.stderr


def test_by_url_and_without_a_key_it_is_what_any_client_may_call(chat: Path, start: Start) -> None:
    server = start("serve", chat, "--port", "0")
    called = interlock("run", "messages:send", '{"author": "ada", "body": "hello"}', "--url", server.url)
    assert called.exit_code == 0, called.output
    internal = interlock("run", "messages:wipe", "--url", server.url)
    assert internal.exit_code == 1
    assert "Could not find public function" in internal.stderr
    assert interlock("run", "add", '{"name": "beans"}', "--component", "votes", "--url", server.url).exit_code == 5


def test_by_url_and_with_the_key_it_is_everything(chat: Path, start: Start) -> None:
    server = start("serve", chat, "--port", "0")
    url = server.url
    key = json.loads((chat / ".interlock/server.json").read_text())["admin_key"]
    assert interlock("run", "messages:wipe", "--url", url, "--admin-key", key).stdout == "0\n"
    assert interlock("run", "add", '{"name": "beans"}', "--component", "votes", "--url", url, "--admin-key", key).stdout == "1\n"
    assert interlock("run", "messages:wipe", "--url", url, "--admin-key", f"{key}0").exit_code == 5


def test_facts_are_for_the_admin_key_alone(chat: Path, start: Start) -> None:
    server = start("serve", chat, "--port", "0")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        get(f"{server.url}/_interlock/tables")


def test_data_that_another_process_serves_is_not_opened_twice(chat: Path, start: Start) -> None:
    first = start("serve", chat, "--port", "0")
    assert first.url
    second = start("serve", chat, "--port", "0")
    assert second.wait() == 4
    assert "Traceback" not in second.output


def test_a_port_that_is_taken_ends_with_3_and_another_one_to_take(chat: Path, start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = start("serve", chat, "--port", str(port))
        assert server.wait() == 3
    assert f"--port {port + 1}" in server.output


def test_after_a_kill_the_next_command_opens_the_data_itself(chat: Path, start: Start) -> None:
    server = start("serve", chat, "--port", "0")
    assert server.url
    interlock("run", "messages:send", '{"author": "ada", "body": "kept"}', "--app", chat)
    server.kill()
    assert json.loads(interlock("run", "messages:bodies", "--app", chat).stdout) == ["kept"]


def test_an_interrupt_from_the_keyboard_is_a_clean_end(chat: Path, start: Start) -> None:
    server = start("dev", chat, "--port", "0")
    assert server.url
    assert server.stop(signal.SIGINT) == 0
    assert "Traceback" not in server.output


def test_a_save_is_taken_over_while_clients_stay_connected(chat: Path, start: Start) -> None:
    server = start("dev", chat, "--port", "0")
    client = ConvexClient(server.url)
    client.mutation("messages:send", {"author": "ada", "body": "hello"})
    results = client.subscribe("messages:bodies", {})
    assert next(results) == ["hello"]

    source = (chat / "messages.py").read_text()
    (chat / "messages.py").write_text(source.replace('return [message["body"]', 'return [message["body"].upper()'))
    assert server.wait_for("Reloaded")
    assert next(results) == ["HELLO"]

    (chat / "messages.py").write_text("x = (\n")
    assert server.wait_for("messages.py:1: SyntaxError")
    server.wait_for("The code from before goes on.")
    client.mutation("messages:send", {"author": "ada", "body": "still"})
    assert next(results) == ["HELLO", "STILL"]


def test_dev_logs_every_call_with_its_end(chat: Path, start: Start) -> None:
    server = start("dev", chat, "--port", "0")
    client = ConvexClient(server.url)
    client.mutation("messages:send", {"author": "ada", "body": "hello"})
    assert "mutation" in server.wait_for("messages:send")
    server.wait_for("from ada")
    with pytest.raises(Exception, match="closed"):
        client.mutation("messages:refuse")
    assert "AppError" in server.wait_for("messages:refuse")


def test_a_first_start_that_fails_waits_for_the_next_save(chat: Path, start: Start) -> None:
    source = (chat / "messages.py").read_text()
    (chat / "messages.py").write_text("x = (\n")
    server = start("dev", chat, "--port", "0")
    server.wait_for("Waiting for a change.")
    (chat / "messages.py").write_text(source)
    assert get(f"{server.url}/version")


def test_dev_writes_the_typed_components(chat: Path) -> None:
    answer = interlock("dev", chat, "--once")
    assert answer.exit_code == 0, answer.output
    assert "async def _votes_add(ctx: MutationCtx, /, *, name: str) -> int:" in (chat / "_generated.py").read_text()


def test_once_is_a_check_that_starts(chat: Path, start: Start) -> None:
    (chat / "messages.py").write_text("import time\nfrom interlock import query\n@query\ndef late(ctx):\n    return time.time()\n")
    found = interlock("dev", chat, "--once")
    assert found.exit_code == 1
    assert "late uses time.time" in found.stderr
    (chat / "messages.py").write_text("x = (\n")
    refused = interlock("dev", chat, "--once")
    assert refused.exit_code == 3
    assert "messages.py:1: SyntaxError" in refused.stderr
