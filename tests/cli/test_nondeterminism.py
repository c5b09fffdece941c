from pathlib import Path

import pytest

from interlock.cli.nondeterminism import find_nondeterminism


def findings(tmp_path: Path, source: str) -> list[tuple[int, str, str]]:
    file = tmp_path / "guesses.py"
    file.write_text(source)
    return [(found.line, found.function, found.uses) for found in find_nondeterminism(file)]


HEAD = """\
import asyncio, datetime, os, random, socket, subprocess, threading, time, uuid
import datetime as clock
from datetime import datetime as moment
from pathlib import Path
from random import choice as pick
from time import time as seconds
import httpx, requests
from interlock import action, mutation, query
import interlock
"""


@pytest.mark.parametrize(
    ("expression", "uses"),
    [
        ("time.time()", "time.time"),
        ("seconds()", "time.time"),
        ("datetime.datetime.now()", "datetime.datetime.now"),
        ("clock.date.today()", "datetime.date.today"),
        ("moment.now()", "datetime.datetime.now"),
        ("random.random()", "random.random"),
        ("random.Random().random()", "random.Random"),
        ("pick([1, 2])", "random.choice"),
        ("uuid.uuid4().hex", "uuid.uuid4"),
        ("os.urandom(8)", "os.urandom"),
        ("os.environ['KEY']", "os.environ"),
        ("open('x')", "open"),
        ("Path('x').read_text()", "Path.read_text"),
        ("requests.get('x')", "requests.get"),
        ("httpx.AsyncClient()", "httpx.AsyncClient"),
        ("socket.socket()", "socket.socket"),
        ("subprocess.run(['x'])", "subprocess.run"),
        ("threading.Thread()", "threading.Thread"),
        ("asyncio.sleep(1)", "asyncio.sleep"),
        ("hash('x')", "hash"),
    ],
)
def test_what_differs_from_run_to_run_is_found_in_queries_and_mutations_but_not_in_actions(
    tmp_path: Path, expression: str, uses: str
) -> None:
    source = (
        HEAD
        + f"""
@query
async def asks(ctx):
    return {expression}

@interlock.mutation(internal=True)
def writes(ctx):
    return [{expression} for _ in range(1)]

@action
async def acts(ctx):
    return {expression}

def nobody_calls_this():
    return {expression}
"""
    )
    assert findings(tmp_path, source) == [(13, "asks", uses), (17, "writes", uses)]


def test_a_helper_of_the_same_module_counts_as_part_of_the_function(tmp_path: Path) -> None:
    helpers = "\ndef roll():\n    return deep()\n\ndef deep():\n    return random.random()\n"
    source = HEAD + helpers + "\n@mutation\nasync def play(ctx):\n    return roll()\n"
    assert findings(tmp_path, source) == [(15, "play", "random.random")]


def test_triggers_and_component_functions_run_in_a_transaction_too(tmp_path: Path) -> None:
    source = """\
import time
from interlock import Component, trigger
component = Component("tally")

@component.mutation
async def add(ctx):
    return time.time()

@component.trigger("counters")
async def watch(ctx, change):
    time.time()

async def later(ctx, change):
    time.time()

trigger("guesses")(later)
"""
    assert [function for _, function, _ in findings(tmp_path, source)] == ["add", "watch", "later"]


def test_names_that_only_look_like_it_are_left_alone(tmp_path: Path) -> None:
    source = """\
import random as chance
from interlock import mutation
def hash(value): return 1

@mutation
async def fine(ctx, open, time, requests: list):
    requests.append(time.time())
    ctx.random.choice([1])
    seeded = chance.Random(7).random()
    return hash("x"), seeded, ctx.now(), ctx.uuid4()
"""
    assert findings(tmp_path, source) == []


def test_a_finding_says_where_and_what_to_write_instead(tmp_path: Path) -> None:
    file = tmp_path / "guesses.py"
    file.write_text("import time\nfrom interlock import query\n@query\nasync def top(ctx):\n    return time.time()\n")
    [finding] = find_nondeterminism(file)
    assert str(finding) == f"{file}:5: top uses time.time: use ctx.now(), the time of the transaction"


def test_what_is_not_awaited_is_told(tmp_path: Path) -> None:
    source = (
        HEAD
        + """
async def helper(c, name):
    c.db.delete(name)

@mutation
async def forgets(ctx, name):
    ctx.db.insert("notes", {})
    await ctx.db.insert("notes", {})
    both = [ctx.db.get(name), ctx.db.patch(name, {})]
    await asyncio.gather(*both)
    other.db.insert("notes", {})
    ctx.log.info("fine")
    ctx.scheduler.run_after(0, helper)
    await helper(ctx, name)

@action
async def outside(ctx):
    ctx.run_mutation(forgets)
"""
    )
    first = len(HEAD.splitlines()) + 2
    found = findings(tmp_path, source)
    assert found == [
        (first + 1, "forgets", "c.db.delete without await"),
        (first + 5, "forgets", "ctx.db.insert without await"),
        (first + 11, "forgets", "ctx.scheduler.run_after without await"),
    ]
