"""Who is told of jobs, and what they are told."""

from __future__ import annotations

from typing import Any

import pytest

from interlock import AppError, Component, Job
from interlock.functions.dispatcher import Dispatcher
from interlock.hooks import Outcome, hookimpl
from interlock.mounting import build_tree

from .rooms import Machine, Process
from .test_jobs import diary


class Watcher:
    """A plugin that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    @hookimpl
    def job_scheduled(self, job: Job) -> None:
        self.told.append(("scheduled", job.name, job.state, job.args["text"]))

    @hookimpl
    def job_finished(self, job: Job, outcome: Outcome) -> None:
        self.told.append(("finished", job.name, job.state, str(outcome.error or "")))
        raise RuntimeError("an observer that raises is never felt")


async def watched(watcher: Watcher, component: Component) -> Process:
    process = Process(Machine(), seed=1)
    await process.engine.open()
    tree = build_tree(component, env={}, plugins={"watcher": watcher})
    await process._deploy(tree)
    process.dispatcher = Dispatcher(process.engine, tree, secret=b"secret", scheduling=process.scheduler.jobs)
    await process.scheduler.start(process.dispatcher, tree)
    return process


@pytest.mark.one_isolation("inline", "the host tells its plugins, whatever ran")
async def test_plugins_are_told_of_jobs_when_they_are_planned_and_when_they_have_ended() -> None:
    watcher = Watcher()
    process = await watched(watcher, diary())
    await process.call("plan", seconds=1, text="a")
    await process.call("plan", seconds=2, text="b", function="fail")
    job = await process.call("plan", seconds=3, text="c")
    await process.call("cancel", job=job)
    await process.advance(5)
    assert watcher.told == [
        ("scheduled", "write", "pending", "a"),
        ("scheduled", "fail", "pending", "b"),
        ("scheduled", "write", "pending", "c"),
        ("finished", "write", "canceled", ""),
        ("finished", "write", "success", ""),
        ("finished", "fail", "failed", "no b"),
    ]
    await process.stop()


@pytest.mark.one_isolation("inline", "the host tells its plugins, whatever ran")
async def test_plugins_hear_nothing_of_jobs_that_were_never_planned() -> None:
    watcher = Watcher()
    process = await watched(watcher, diary())
    try:
        await process.call("plan_and_fail", text="x")
    except AppError:
        pass
    await process.scheduler.wait_idle()
    assert watcher.told == []
    await process.stop()
