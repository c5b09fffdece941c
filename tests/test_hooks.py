import asyncio
import inspect
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import typer

from interlock import hooks
from interlock.errors import MountError, StorageUnavailable
from interlock.hooks import OBSERVERS, OF_MOUNTS, OF_PLUGINS, Call, DashboardPage, Hooks, Outcome, hookimpl
from interlock.sdk.declarations import CronDeclaration, FunctionDeclaration, RouteDeclaration, TableDeclaration
from interlock.sdk.host import FunctionInfo, Job

CALL = Call(FunctionInfo("guesses:submit", "mutation", ""), "ab12", "client")
JOB = Job("j1", "success", "mailer/send", {}, 1_000.0)
OUTCOME = Outcome(1.5, commit_ts=7)
SPECS = {name: spec for name, spec in vars(hooks).items() if hasattr(spec, "interlock_spec")}
TABLE = TableDeclaration({"type": "any"})
FUNCTION = FunctionDeclaration("add", "mutation", False, {"type": "object", "value": {}}, {"type": "any"})
CRON = CronDeclaration("tick", 5.0, None, "UTC", "once", {}, "add")
ROUTE = RouteDeclaration("GET", "/x")


def plugin(**implementations: Any) -> SimpleNamespace:
    """A plugin out of plain functions."""
    return SimpleNamespace(**{name: hookimpl(implementation) for name, implementation in implementations.items()})


def nothing() -> list[Any]:
    return []


def recorder(heard: list[Any]) -> SimpleNamespace:
    """A plugin that hears everything."""

    def call_started(call: Call) -> None:
        heard.append(("call_started", call))

    def call_finished(call: Call, outcome: Outcome) -> None:
        heard.append(("call_finished", call, outcome))

    def job_scheduled(job: Job) -> None:
        heard.append(("job_scheduled", job))

    def job_finished(job: Job, outcome: Outcome) -> None:
        heard.append(("job_finished", job, outcome))

    return plugin(call_started=call_started, call_finished=call_finished, job_scheduled=job_scheduled, job_finished=job_finished)


# The specs


def test_the_specs_are_those_of_the_architecture() -> None:
    declared = "tables triggers functions call_started call_finished crons job_scheduled job_finished"
    platform = "open_storage open_files authenticators http_routes commands dashboard_pages"
    assert set(SPECS) == {*declared.split(), *platform.split()} == OF_MOUNTS | OF_PLUGINS


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_spec_says_when_what_and_what_raising_does_and_has_no_defaults(name: str) -> None:
    doc = inspect.getdoc(SPECS[name]) or ""
    assert "once" in doc
    assert "raising" in doc.lower()
    assert name in OBSERVERS or name == "commands" or doc.startswith("Return")
    signature = inspect.signature(SPECS[name])
    assert all(parameter.default is parameter.empty for parameter in signature.parameters.values())
    assert signature.return_annotation is not signature.empty


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_hook_has_a_typed_call_with_the_parameters_of_its_spec(name: str) -> None:
    call = inspect.signature(getattr(Hooks, name))
    own = [parameter for parameter in call.parameters if parameter not in ("self", "path")]
    assert own == list(inspect.signature(SPECS[name]).parameters)
    assert ("path" in call.parameters) is (name in OF_MOUNTS)


def test_importing_interlock_imports_no_pluggy() -> None:
    code = "import interlock, sys; assert not {'pluggy', 'interlock.hooks'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# Mounts


def test_a_mount_is_asked_for_itself_alone() -> None:
    def tables() -> Any:
        return {"counters": TABLE}

    def functions() -> Any:
        return {"add": FUNCTION}

    def triggers() -> Any:
        return ["counters"]

    def crons() -> Any:
        return [CRON]

    def http_routes() -> Any:
        return [ROUTE]

    full = plugin(tables=tables, functions=functions, triggers=triggers, crons=crons, http_routes=http_routes)
    found = Hooks({"": plugin(), "tally": full})
    assert found.tables("tally") == {"counters": TABLE}
    assert found.functions("tally") == {"add": FUNCTION}
    assert found.triggers("tally") == ["counters"]
    assert found.crons("tally") == [CRON]
    assert found.http_routes("tally") == [ROUTE]
    assert [found.tables(""), found.functions(""), found.triggers(""), found.crons(""), found.http_routes("")] == [{}, {}, [], [], []]


def test_two_mounts_may_share_one_plugin_object() -> None:
    shared = plugin(triggers=lambda: ["a"])
    found = Hooks({"one": shared, "two": shared})
    assert found.triggers("one") == found.triggers("two") == ["a"]


def test_a_mount_that_raises_refuses_the_start_by_name_and_stops_no_other() -> None:
    found = Hooks({"bad": plugin(triggers=lambda: 1 / 0), "good": plugin(triggers=lambda: ["a"])})
    with pytest.raises(MountError, match='the mount "bad": its hook triggers raised ZeroDivisionError'):
        found.triggers("bad")
    assert found.triggers("good") == ["a"]


def test_a_refusal_of_interlock_passes_as_it_is() -> None:
    def tables() -> Any:
        raise MountError("component.py:3", "no")

    with pytest.raises(MountError, match=r"^component\.py:3: no$"):
        Hooks({"": plugin(tables=tables)}).tables("")


# Plugins of the backend


def test_the_first_plugin_that_knows_the_scheme_opens_the_storage() -> None:
    asked: list[str] = []

    def opener(name: str, scheme: str) -> SimpleNamespace:
        def open_storage(url: str) -> Any:
            asked.append(name)
            return name if url.startswith(scheme) else None

        return plugin(open_storage=open_storage, open_files=lambda url: None)

    found = Hooks({}, {"a": opener("a", "x:"), "b": opener("b", "y:"), "c": opener("c", "y:")})
    opened: Any = found.open_storage("y://host")
    assert opened == "b"
    assert asked == ["a", "b"]
    assert found.open_storage("z://host") is None
    assert found.open_files("y://host") is None


def test_a_storage_that_cannot_be_opened_says_so() -> None:
    def open_storage(url: str) -> Any:
        raise StorageUnavailable("no such host")

    with pytest.raises(StorageUnavailable):
        Hooks({}, {"a": plugin(open_storage=open_storage)}).open_storage("y:")


def test_authenticators_and_pages_of_all_plugins_come_in_their_order() -> None:
    one, two = DashboardPage("one", "One", None), DashboardPage("two", "Two", None)  # type: ignore[arg-type]
    found = Hooks(
        {}, {"b": plugin(authenticators=lambda: ["x"], dashboard_pages=lambda: [two]), "a": plugin(dashboard_pages=lambda: [one])}
    )
    assert found.dashboard_pages() == [two, one]
    told: list[Any] = list(found.authenticators())
    assert told == ["x"]


def test_two_pages_of_one_slug_are_refused() -> None:
    page = DashboardPage("one", "One", None)  # type: ignore[arg-type]
    found = Hooks({}, {"a": plugin(dashboard_pages=lambda: [page]), "b": plugin(dashboard_pages=lambda: [page])})
    with pytest.raises(MountError, match='two plugins have a page "one"'):
        found.dashboard_pages()


def test_a_plugin_adds_commands() -> None:
    cli = typer.Typer()

    def commands(cli: typer.Typer) -> None:
        cli.command("hello")(lambda: None)

    Hooks({}, {"a": plugin(commands=commands)}).commands(cli)
    assert [command.name for command in cli.registered_commands] == ["hello"]


# Observers


def test_observers_hear_calls_and_jobs() -> None:
    heard: list[Any] = []
    found = Hooks({"": plugin()}, {"a": recorder(heard)})
    assert found.observes_calls
    assert found.observes_jobs
    found.call_started(CALL)
    found.call_finished(CALL, OUTCOME)
    found.job_scheduled(JOB)
    found.job_finished(JOB, OUTCOME)
    assert heard == [("call_started", CALL), ("call_finished", CALL, OUTCOME), ("job_scheduled", JOB), ("job_finished", JOB, OUTCOME)]
    assert OUTCOME.ok


def test_where_nobody_listens_nothing_is_to_be_told() -> None:
    found = Hooks({"": plugin()}, {"a": plugin(authenticators=nothing)})
    assert not found.observes_calls
    assert not found.observes_jobs
    found.call_started(CALL)


def test_an_observer_takes_the_parameters_that_it_wants() -> None:
    heard: list[Any] = []

    def call_finished(outcome: Outcome) -> None:
        heard.append(outcome)

    Hooks({}, {"a": plugin(call_finished=call_finished)}).call_finished(CALL, OUTCOME)
    assert heard == [OUTCOME]


def test_an_observer_that_raises_is_logged_and_felt_by_nobody() -> None:
    def broken(**facts: Any) -> None:
        raise ValueError("broken")

    heard: list[Any] = []
    found = Hooks({}, {"a": recorder(heard), "b": plugin(call_started=lambda call: broken()), "c": recorder(heard)})
    with structlog.testing.capture_logs() as lines:
        found.call_started(CALL)
    assert heard == [("call_started", CALL)] * 2
    assert [(line["plugin"], line["hook"]) for line in lines] == [('the plugin "b"', "call_started")]


def test_a_cancelled_observer_is_no_error_of_its_own() -> None:
    def call_started(call: Call) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        Hooks({}, {"a": plugin(call_started=call_started)}).call_started(CALL)


# Refusals


def test_a_misspelt_hook_is_refused_with_the_close_match() -> None:
    said = 'the plugin "a": it implements "call_finnished", which is no hook.\n  Did you mean call_finished?'
    with pytest.raises(MountError, match=re.escape(said)):
        Hooks({}, {"a": plugin(call_finnished=lambda call: None)})


def test_a_hook_like_no_other_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(MountError, match="There are: crons, functions, http_routes, tables, triggers"):
        Hooks({"": plugin(zebra=lambda: None)})


def test_an_optional_hook_of_another_version_is_let_be() -> None:
    optional = SimpleNamespace(later=hookimpl(optionalhook=True)(lambda: None))
    assert Hooks({}, {"a": optional}).authenticators() == []


def test_a_parameter_that_the_spec_lacks_is_refused() -> None:
    with pytest.raises(MountError, match="a hook of it does not fit its spec"):
        Hooks({}, {"a": plugin(call_started=lambda call, colour: None)})


def test_an_async_hook_is_refused() -> None:
    async def call_started(call: Call) -> None: ...

    with pytest.raises(MountError, match="its hook call_started is async"):
        Hooks({}, {"a": plugin(call_started=call_started)})


@pytest.mark.parametrize("name", sorted(OF_PLUGINS))
def test_a_mount_hears_nothing_of_what_others_do(name: str) -> None:
    with pytest.raises(MountError, match=f"it implements the hook {name}, which only a plugin of the backend"):
        Hooks({"spy": plugin(**{name: lambda: None})})


@pytest.mark.parametrize("name", sorted(OF_MOUNTS))
def test_a_plugin_that_is_no_mount_has_no_tables_or_functions(name: str) -> None:
    with pytest.raises(MountError, match=f"it implements the hook {name}, which only a mounted component is asked for"):
        Hooks({}, {"a": plugin(**{name: lambda: None})})


# Tracing


def test_a_switch_prints_every_hook_call_with_its_answers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("INTERLOCK_TRACE_HOOKS", "1")
    found = Hooks({"tally": plugin(triggers=lambda: ["counters"], crons=lambda: 1 / 0)}, {"a": plugin(call_started=lambda call: None)})
    found.triggers("tally")
    with pytest.raises(MountError):
        found.crons("tally")
    found.call_started(CALL)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "hook of the mount \"tally\": triggers() → [['counters']]"
    assert lines[1].startswith('hook of the mount "tally": crons() raised ZeroDivisionError')
    assert lines[2].startswith('hook of the plugin "a": call_started(call=Call(')


def test_without_the_switch_nothing_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INTERLOCK_TRACE_HOOKS", raising=False)
    Hooks({"": plugin(triggers=nothing)}).triggers("")
    assert capsys.readouterr().err == ""
