"""`interlock run`, `data` and `components` without a server: each opens the data, does one thing, and closes it."""

from __future__ import annotations

import json
from pathlib import Path

from .commands import interlock


def test_a_function_is_called_and_its_result_printed(chat: Path) -> None:
    sent = interlock("run", "messages:send", '{"author": "ada", "body": "hello"}', "--app", chat)
    assert sent.exit_code == 0, sent.output
    assert isinstance(json.loads(sent.stdout), str)
    assert "from ada" in sent.stderr
    assert json.loads(interlock("run", "messages:bodies", "--app", chat).stdout) == ["hello"]


def test_arguments_may_come_from_stdin(chat: Path) -> None:
    interlock("run", "messages:send", "-", "--app", chat, input='{"author": "ada", "body": "piped"}')
    assert json.loads(interlock("run", "messages:bodies", "--app", chat).stdout) == ["piped"]


def test_an_internal_function_can_be_called(chat: Path) -> None:
    interlock("run", "messages:send", '{"author": "ada", "body": "hello"}', "--app", chat)
    assert interlock("run", "messages:wipe", "--app", chat).stdout == "1\n"


def test_a_function_of_a_component_can_be_called(chat: Path) -> None:
    answer = interlock("run", "add", '{"name": "beans"}', "--component", "votes", "--app", chat)
    assert (answer.exit_code, answer.stdout) == (0, "1\n"), answer.output


def test_a_function_that_raises_ends_with_1_and_its_message(chat: Path) -> None:
    answer = interlock("run", "messages:refuse", "--app", chat)
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "closed" in answer.stderr


def test_what_a_function_raises_is_told_with_its_line_and_what_it_logged(chat: Path) -> None:
    answer = interlock("run", "messages:divide", "--app", chat)
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "about to divide" in answer.stderr
    assert "messages:divide raised ZeroDivisionError: division by zero" in answer.stderr
    assert f"{chat / 'messages.py'}:31" in answer.stderr
    assert "Traceback" not in answer.output


def test_a_function_that_is_not_there_is_told_with_the_one_that_was_meant(chat: Path) -> None:
    assert "Did you mean messages:bodies?" in interlock("run", "messages:bodys", "--app", chat).stderr
    assert "There are: add." in interlock("run", "frobnicate", "--component", "votes", "--app", chat).stderr
    assert "Mounted: votes." in interlock("run", "add", "--component", "vote", "--app", chat).stderr


def test_what_a_function_does_wrong_is_no_mistake_of_the_command_line_nor_of_the_start(chat: Path) -> None:
    (chat / "wrong.py").write_text(
        "from interlock import MutationCtx, components, mutation\n"
        "@mutation\nasync def field(ctx: MutationCtx) -> None:\n    await ctx.db.insert('messages', {'author': 1, 'body': 'x'})\n"
        "@mutation\nasync def call(ctx: MutationCtx) -> None:\n    await ctx.run_mutation(components.votes.ad, name='x')\n"
    )
    answer = interlock("run", "wrong:field", "--app", chat)
    assert answer.exit_code == 1
    assert "wrong:field raised SchemaError" in answer.stderr and f"{chat / 'wrong.py'}:4" in answer.stderr
    assert "'votes/ad'. Did you mean add?" in interlock("run", "wrong:call", "--app", chat).stderr


def test_as_json_an_error_has_its_code(chat: Path) -> None:
    for function, code in [("messages:refuse", "AppError"), ("messages:send", "ArgumentError"), ("messages:nowhere", "FunctionNotFound")]:
        answer = interlock("run", function, "--app", chat, "--json")
        assert (answer.exit_code, answer.stdout) == (1, "")
        assert json.loads(answer.stderr)["error"]["code"] == code


def test_an_app_that_cannot_start_ends_with_3(chat: Path) -> None:
    (chat / "messages.py").write_text("x = (\n")
    answer = interlock("run", "messages:bodies", "--app", chat)
    assert answer.exit_code == 3
    assert "messages.py:1: SyntaxError" in answer.stderr


def test_data_that_cannot_be_opened_ends_with_4(chat: Path, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("not a directory")
    answer = interlock("run", "messages:bodies", "--app", chat, "--data", tmp_path / "occupied")
    assert answer.exit_code == 4
    assert "Traceback" not in answer.output


def test_data_lists_tables_and_shows_documents_newest_first(chat: Path) -> None:
    for body in ("one", "two", "three"):
        interlock("run", "messages:send", json.dumps({"author": "ada", "body": body}), "--app", chat)
    listed = interlock("data", "--app", chat)
    assert [line.split()[:2] for line in listed.stdout.splitlines()] == [["TABLE", "DOCUMENTS"], ["messages", "3"]]
    shown = interlock("data", "messages", "--limit", "2", "--app", chat)
    assert [json.loads(line)["body"] for line in shown.stdout.splitlines()] == ["three", "two"]
    assert [row["body"] for row in json.loads(interlock("data", "messages", "--app", chat, "--json").stdout)] == ["three", "two", "one"]


def test_data_of_a_component_is_its_own(chat: Path) -> None:
    interlock("run", "add", '{"name": "beans"}', "--component", "votes", "--app", chat)
    [row] = json.loads(interlock("data", "counts", "--component", "votes", "--app", chat, "--json").stdout)
    assert row["name"] == "beans"


def test_a_table_that_is_not_there_is_told_with_those_that_are(chat: Path) -> None:
    answer = interlock("data", "mesages", "--app", chat)
    assert answer.exit_code == 1
    assert "messages" in answer.stderr


def test_components_shows_the_mount_tree_and_what_was_unmounted(chat: Path) -> None:
    interlock("run", "add", '{"name": "beans"}', "--component", "votes", "--app", chat)
    app, votes = json.loads(interlock("components", chat, "--json").stdout)
    assert (app["path"], app["state"], app["tables"]) == ("", "mounted", ["messages"])
    assert (votes["path"], votes["component"], votes["isolation"], votes["documents"]) == ("votes", "tally", "inline", 1)

    (chat / "app.py").write_text("from interlock import App\n\napp = App()\n")
    _, left = json.loads(interlock("components", chat, "--json").stdout)
    assert (left["path"], left["state"], left["documents"]) == ("votes", "unmounted", 1)
    assert "unmounted" in interlock("components", chat).stdout
