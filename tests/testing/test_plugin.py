"""The pytest plugin, tried in runs of pytest of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from interlock.testing import TestBackend

pytestmark = pytest.mark.one_isolation("inline", "what pytest collects and runs; a project in a process of its own")

pytest_plugins = ["pytester"]

APP = {
    "app": "from interlock import App\napp = App()\n",
    "notes": """
from interlock import MutationCtx, QueryCtx, mutation, query

@mutation
async def write(ctx: MutationCtx, text: str) -> None:
    await ctx.db.insert("notes", {"text": text})

@query
async def all(ctx: QueryCtx) -> list[str]:
    return [row["text"] async for row in ctx.db.query("notes")]
""",
}


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with an app, whose name in `sys.modules` no other test uses."""
    folder = pytester.mkdir("scribbles")
    for name, text in APP.items():
        (folder / f"{name}.py").write_text(text)
    pytester.makeini("[pytest]\ninterlock_app = scribbles\n")
    return pytester


def run(project: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    project.makepyfile(test_it="import asyncio, pytest\nfrom interlock.testing import TestBackend\n" + test)
    return project.runpytest("-p", "no:cacheprovider", *options)


def test_async_tests_run_with_the_app_that_the_configuration_names(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
async def test_writes(interlock: TestBackend) -> None:
    await interlock.mutation("notes:write", text="a")
    assert await interlock.query("notes:all") == ["a"]

async def test_starts_empty(interlock: TestBackend) -> None:
    assert await interlock.query("notes:all") == []

def test_sync_tests_are_left_alone() -> None:
    pass
""",
    )
    result.assert_outcomes(passed=3)


def test_an_async_test_that_fails_fails(project: pytest.Pytester) -> None:
    result = run(project, "async def test_fails() -> None:\n    await asyncio.sleep(0)\n    assert 1 == 2\n")
    result.assert_outcomes(failed=1)


def test_methods_and_parameters_work_too(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
class TestNotes:
    @pytest.mark.parametrize("text", ["a", "b"])
    async def test_writes(self, interlock: TestBackend, text: str) -> None:
        await interlock.mutation("notes:write", text=text)
        assert await interlock.query("notes:all") == [text]
""",
    )
    result.assert_outcomes(passed=2)


def test_async_fixtures_run_in_the_loop_of_their_test(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
ended = []

@pytest.fixture
async def note(interlock: TestBackend) -> str:
    await interlock.mutation("notes:write", text="by a fixture")
    return asyncio.get_running_loop()

@pytest.fixture
async def opened(note):
    yield note
    await asyncio.sleep(0)
    ended.append(asyncio.get_running_loop() is note)

@pytest.mark.parametrize("time", [1, 2])
async def test_sees_it(interlock: TestBackend, note, opened, time) -> None:
    assert asyncio.get_running_loop() is note is opened
    assert await interlock.query("notes:all") == ["by a fixture"]

def test_fixtures_were_torn_down() -> None:
    assert ended == [True, True]
""",
    )
    result.assert_outcomes(passed=3)


def test_hypothesis_runs_async_properties(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
from hypothesis import given, settings, strategies as st

seen = []

@settings(max_examples=5, database=None)
@given(number=st.integers())
async def test_property(number: int) -> None:
    await asyncio.sleep(0)
    seen.append(number)

def test_it_ran() -> None:
    assert len(seen) == 5
""",
    )
    result.assert_outcomes(passed=2)


def test_a_failing_property_fails(project: pytest.Pytester) -> None:
    result = run(
        project,
        """
from hypothesis import given, settings, strategies as st

@settings(database=None)
@given(number=st.integers())
async def test_property(number: int) -> None:
    assert number < 5
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*number=5*"])


def test_a_test_that_fails_says_its_seed_and_the_seed_can_be_given(project: pytest.Pytester) -> None:
    test = """
async def test_fails(interlock: TestBackend) -> None:
    print("drew", await interlock.mutation(draw))
    assert 0

async def draw(ctx):
    return ctx.random.random()
"""
    first, again, other = (run(project, test, *options) for options in ((), (), ("--interlock-seed=7",)))
    first.stdout.fnmatch_lines(["*seed 0. The same again: --interlock-seed=0"])
    other.stdout.fnmatch_lines(["*seed 7. The same again: --interlock-seed=7"])

    def drew(result: pytest.RunResult) -> str:
        return next(line for line in result.outlines if line.startswith("drew"))

    assert drew(first) == drew(again) != drew(other)


def test_without_an_app_in_the_configuration_the_fixture_says_what_to_write(pytester: pytest.Pytester) -> None:
    result = run(pytester, "async def test_it(interlock: TestBackend) -> None: ...\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*interlock_app = <directory>*"])


def test_a_test_that_anyio_is_asked_to_run_is_anyios(project: pytest.Pytester) -> None:
    pytest.importorskip("anyio")
    result = run(
        project,
        """
@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"

@pytest.mark.anyio
async def test_by_anyio(interlock: TestBackend) -> None:
    assert "anyio" in repr(asyncio.current_task())
    await interlock.mutation("notes:write", text="a")
    assert await interlock.query("notes:all") == ["a"]
""",
        "-p",
        "anyio",
    )
    result.assert_outcomes(passed=1)


def test_loading_the_plugin_loads_no_backend() -> None:
    program = "import interlock.testing.plugin, sys; print('interlock.backend' in sys.modules, 'pydantic' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]


def test_pytest_does_not_take_the_backend_for_a_test() -> None:
    assert TestBackend.__test__ is False
