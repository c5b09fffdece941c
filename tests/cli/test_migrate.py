"""`interlock migrate`, and `interlock run` of a migration: they are watched to the end, and nothing is left half done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interlock.cli.migrate import _print_sample
from interlock.cli.migrations import bar

from .commands import interlock

APP = 'from interlock import App\n\napp = App()\napp.use("migrations", isolation="inline")\n'
SCHEMA = 'from interlock import Schema, Table\n\nschema = Schema(users=Table({"name": str}).index("by_name", "name"))\n'
CODE = """\
from typing import Any

from interlock import MutationCtx, QueryCtx, components, mutation, query
from interlock_migrations import Migrations

migrations = Migrations(components.migrations, default_batch_size=20)


@migrations.define("users")
async def upper(ctx: MutationCtx, doc: dict[str, Any]) -> dict[str, Any]:
    return {"name": doc["name"].upper()}


@migrations.define("users", batch_size=30)
async def broken(ctx: MutationCtx, doc: dict[str, Any]) -> dict[str, Any]:
    if doc["name"].lower() == "user 70":
        raise KeyError("user 70")
    return {"name": doc["name"] + "!"}


@migrations.define("users")
async def mark(ctx: MutationCtx, doc: dict[str, Any]) -> dict[str, Any]:
    return {"name": doc["name"] + "."}


backfill = migrations.runner(upper, broken)
both = migrations.runner(upper, mark)
one = migrations.runner()


@mutation
async def fill(ctx: MutationCtx) -> None:
    for n in range(100):
        await ctx.db.insert("users", {"name": f"user {n}"})


@query
async def names(ctx: QueryCtx) -> list[str]:
    return [user["name"] async for user in ctx.db.query("users")]
"""


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """An app with a hundred users and two migrations."""
    directory = tmp_path / "people"
    directory.mkdir()
    for name, source in {"app.py": APP, "users.py": CODE, "schema.py": SCHEMA}.items():
        (directory / name).write_text(source)
    assert interlock("run", "users:fill", "--app", directory).exit_code == 0
    return directory


def names(app: Path) -> list[str]:
    found: list[str] = json.loads(interlock("run", "users:names", "--app", app).stdout)
    return found


def test_a_migration_is_run_and_watched_to_its_end(people: Path) -> None:
    answer = interlock("migrate", "users:upper", "--app", people, "--json")
    assert answer.exit_code == 0, answer.output
    (status,) = json.loads(answer.stdout)
    assert (status["state"], status["processed"], status["name"]) == ("success", 100, "users:upper")
    assert "users:upper: done, 100 documents" in answer.stderr
    assert names(people) == [f"USER {n}" for n in range(100)]


def test_run_watches_too_and_a_series_that_fails_says_where(people: Path) -> None:
    answer = interlock("run", "users:backfill", "--app", people, "--json")
    assert answer.exit_code == 0, answer.output
    status = json.loads(answer.stdout)
    assert (status["name"], status["state"], status["processed"]) == ("users:broken", "failed", 60)
    assert "users:upper: done, 100 documents" in answer.stderr
    assert "users:broken: failed after 60 documents at document" in answer.stderr
    told = interlock("migrate", "--app", people)
    assert "users:broken  migrations  failed" in told.stdout and "KeyError: 'user 70'" in told.stdout
    again = interlock("migrate", "users:broken", "--app", people)
    assert again.exit_code == 1
    assert "users:broken failed: KeyError: 'user 70' (at document " in again.stderr
    assert [name[-1] for name in names(people)[59:62]] == ["!", "0", "1"]


def test_each_of_a_series_is_told_however_quick_and_again_after_a_reset(people: Path) -> None:
    for options in [(), ("--reset",)]:
        answer = interlock("migrate", "users:both", *options, "--app", people)
        assert answer.exit_code == 0, answer.output
        assert "users:upper: done, 100 documents" in answer.stderr
        assert "users:mark: done, 100 documents" in answer.stderr
        assert "done before" not in answer.stderr
    again = interlock("migrate", "users:upper", "--app", people)
    assert again.exit_code == 0 and "users:upper had been done before, and has not run again" in again.stderr
    assert names(people)[0] == "USER 0.."


def test_one_by_name_through_a_runner(people: Path) -> None:
    answer = interlock("run", "users:one", '{"fn": "users:upper"}', "--app", people)
    assert answer.exit_code == 0, answer.output
    assert names(people)[0] == "USER 0"


def test_a_dry_run_prints_what_it_would_change(people: Path) -> None:
    answer = interlock("migrate", "users:upper", "--dry-run", "--app", people)
    assert answer.exit_code == 0, answer.output
    assert '  - name: "user 0"\n  + name: "USER 0"\n' in answer.stdout
    assert "20 documents looked at, 10 of the changed ones shown. Nothing was kept." in answer.stderr
    assert names(people)[0] == "user 0"


def test_a_dry_run_of_a_series_is_of_what_is_left_and_starts_nothing(people: Path) -> None:
    assert interlock("migrate", "users:upper", "--app", people).exit_code == 0
    answer = interlock("migrate", "users:both", "--dry-run", "--app", people)
    assert answer.exit_code == 0, answer.output
    assert '  - name: "USER 0"\n  + name: "USER 0."\n' in answer.stdout
    assert "users:mark: 20 documents looked at, 10 of the changed ones shown. Nothing was kept." in answer.stderr
    told = json.loads(interlock("run", "users:both", '{"dryRun": true}', "--app", people).stdout)
    assert (told["name"], told["processed"], len(told["sample"])) == ("users:mark", 20, 10)
    done = interlock("migrate", "users:upper", "--dry-run", "--app", people)
    assert "users:upper: nothing is left to change" in done.stderr and "--reset" in done.stderr
    assert "users:mark" not in interlock("migrate", "--app", people).stdout
    assert names(people)[0] == "USER 0"


def test_whole_numbers_of_a_sample_are_shown_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    sample = [{"before": {"_id": "x", "n": 1.0}, "after": {"_id": "x", "n": 2.0, "m": [0.5, 3.0]}}]
    _print_sample({"name": "m:f", "state": "unknown", "processed": 1.0, "sample": sample})
    assert capsys.readouterr().out == "x\n  + m: [0.5, 3]\n  - n: 1\n  + n: 2\n"


def test_what_is_no_migration_and_what_is_not_there_is_said(people: Path, chat: Path) -> None:
    assert "Did you mean users:upper?" in interlock("migrate", "users:uper", "--app", people).stderr
    assert "it is no migration" in interlock("migrate", "users:names", "--app", people).stderr
    assert "none is named" in interlock("migrate", "--reset", "--app", people).stderr
    assert "No migration has been run" in interlock("migrate", "--app", people).stderr
    assert 'app.use("migrations")' in interlock("migrate", "--app", chat).stderr


def test_the_bar_shows_share_rate_and_what_is_left() -> None:
    status = {"name": "m:f", "processed": 500, "estimated_total": 1000, "rate": 250.0, "state": "in_progress", "is_done": False}
    assert bar(status) == f"m:f  [{'#' * 15}{' ' * 15}]  50%  500 of 1,000  250/s  0:00:02 left"
    assert bar({**status, "estimated_total": None}) == "m:f  500  250/s"
    assert bar({**status, "is_done": True, "state": "success"}) == f"m:f  [{'#' * 30}] 100%  500 of 500"
