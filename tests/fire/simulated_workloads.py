"""Workloads for simulations: each keeps what clients were told, and compares it with what is there."""

from __future__ import annotations

import random
from typing import Any

from interlock import AppError
from interlock.testing import CallFailed, SimulatedClient, Workload

from .elle import Status, Txn, check, shown
from .functions_workload import EVERYTHING, FunctionsAuthor, JobBook, ops_of, written_by

NAMES = ("ada", "bob", "cyd")


class Lists(Workload):
    """Random programs on `functions_app.fire`: the history of what they have seen has to be serializable."""

    clients, rounds = 5, 6

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.history: list[Txn] = []
        self._author = FunctionsAuthor(chance, refuses=0.2)
        self._book = JobBook()
        self._time = 0

    async def act(self, client: SimulatedClient) -> None:
        await (self._look(client) if client.random.random() < 0.2 else self._play(client))

    async def follow(self, client: SimulatedClient) -> None:
        """Each result of a subscription is a transaction as well. When it was asked for is not known, but in which order."""
        look = self._author.look()
        begun = self._tick()
        async for value in client.subscribe("look", program=look):
            ended = self._tick()
            self.history.append(Txn(f"{client.name} sees at {ended}", tuple(ops_of(value)), Status.OK, begun, ended))

    async def at_end(self, client: SimulatedClient) -> None:
        await self._look(client, EVERYTHING)
        await self._play(client, EVERYTHING)
        jobs = self._book.transactions(await client.query("results"), await client.query("failures"))
        anomalies = [*self._book.anomalies, *check([*self.history, *jobs])]
        assert not anomalies, shown(anomalies)

    async def _look(self, client: SimulatedClient, program: Any = None) -> None:
        program = self._author.look() if program is None else program
        begun = self._tick()
        value = await client.query("look", program=program)
        ended = self._tick()
        self.history.append(Txn(f"{client.name} looks at {ended}", tuple(ops_of(value)), Status.OK, begun, ended))

    async def _play(self, client: SimulatedClient, program: Any = None) -> None:
        program = self._author.program() if program is None else program
        begun, name = self._tick(), f"{client.name} plays at {self._time}"
        status, steps = Status.UNKNOWN, program
        ops = tuple(written_by(program))
        try:
            steps = await client.mutation("play", program=program)
            status, ops = Status.OK, tuple(ops_of(steps))
        except AppError as error:
            status, ops = Status.FAILED, (*ops_of(error.data), *written_by(program))
        except CallFailed as error:
            status = Status.FAILED
            if not error.is_passing:
                raise
        finally:
            self.history.append(Txn(name, ops, status, begun, None if status is Status.UNKNOWN else self._tick()))
            self._book.plan(name, status, begun, steps)

    def _tick(self) -> int:
        self._time += 1
        return self._time


class Transfers(Workload):
    """On `bank`: money is neither made nor lost, and nobody ever owes any."""

    balance = 10

    async def setup(self, client: SimulatedClient) -> None:
        await client.mutation("open_accounts", names=list(NAMES), balance=self.balance)

    async def act(self, client: SimulatedClient) -> None:
        giver, taker = client.random.sample(NAMES, 2)
        what = {"giver": giver, "taker": taker, "amount": client.random.randint(1, 12)}
        match client.random.randrange(3):
            case 0:
                try:
                    await client.mutation("transfer", **what)
                except AppError as error:
                    assert error.data == "too little"
            case 1:
                await client.mutation("transfer_if_possible", **what)
            case 2:
                await client.mutation("transfer_later", **what, seconds=client.random.choice((0, 0.01, 1.0)))

    async def follow(self, client: SimulatedClient) -> None:
        async for balances in client.subscribe("balances"):
            self._check(balances)

    async def always(self, client: SimulatedClient) -> None:
        self._check(await client.query("balances"))

    def _check(self, balances: dict[str, int]) -> None:
        assert sum(balances.values()) == self.balance * len(NAMES), balances
        assert min(balances.values()) >= 0, balances


class Errands(Workload):
    """On `errands`: each job runs as often as promised. Clients are in nobody's way: a batch holds commits of several, and can be torn."""

    clients = 6

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.planned: dict[int, tuple[str, str]] = {}  # errand → kind, job
        self.canceled: set[int] = set()
        self._last = 0

    async def act(self, client: SimulatedClient) -> None:
        if self.planned and client.random.random() < 0.25:
            errand = client.random.choice(list(self.planned))
            if await client.mutation("cancel", job=self.planned[errand][1]):
                self.canceled.add(errand)
            return
        self._last += 1
        errand, kind = self._last, client.random.choice(("mutation", "mutation", "action"))
        job = await client.mutation("plan", errand=errand, seconds=client.random.choice((0, 0.02, 0.5, 2.0)), kind=kind)
        self.planned[errand] = kind, job
        await client.sleep(client.random.uniform(0.0, 0.3))

    async def follow(self, client: SimulatedClient) -> None:
        before: list[Any] = []
        async for done in client.subscribe("whats_done"):
            assert done[: len(before)] == before, f"{before} were done, and now {done}"
            before = done

    async def at_end(self, client: SimulatedClient) -> None:
        done = [tuple(one) for one in await client.query("whats_done")]
        states = dict(await client.query("states"))
        assert {errand for errand, _ in done} <= set(self.planned), "somebody did what nobody had planned"
        for errand, (kind, job) in self.planned.items():
            times = done.count((errand, kind))
            assert (errand, "in vain") not in done
            if errand in self.canceled:
                assert (times, states[job]) == (0, "canceled")
            elif kind == "mutation":
                assert (times, states[job]) == (1, "success"), f"errand {errand} is {states[job]} and was done {times} times"
            else:  # a crash may have come before it had done anything, or before it was marked
                assert times <= 1 and states[job] in ("success", "failed"), f"errand {errand}: {states[job]}, {times} times"
                assert times == 1 or states[job] == "failed"
        ticks = await client.query("ticks")
        assert ticks == sorted(ticks)
        await client.sleep(4.5)
        assert len(await client.query("ticks")) >= len(ticks) + 2, "a cron goes on whatever has happened"


class Messages(Workload):
    """On `feed`: who looks at a room sees it grow, and never shrink."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.sent = dict.fromkeys("xy", 0)

    async def act(self, client: SimulatedClient) -> None:
        room = client.random.choice("xy")
        if client.random.random() < 0.2:
            return await client.mutation("rewrite", room=room, text=f"{client.random.random()}")
        n = await client.mutation("send", room=room, text="x" * client.random.choice((1, 50)))
        self.sent[room] += 1
        seen = await client.query("newest", room=room, count=3)
        assert seen and seen[0] >= n, f"{client.name} has sent {n}, and sees {seen}"
        await client.sleep(client.random.choice((0.0, 0.0, 0.2)))
        return None

    async def follow(self, client: SimulatedClient) -> None:
        if client.random.random() < 0.5:
            before: dict[str, int] = {}
            async for sizes in client.subscribe("rooms", names=["x", "y"]):
                assert all(sizes[room] >= before.get(room, 0) for room in sizes), f"{before}, then {sizes}"
                before = sizes
        else:
            last = 0
            async for numbers in client.subscribe("newest", room="x", count=4):
                newest = numbers[0] if numbers else 0
                assert numbers == list(range(newest, max(0, newest - 4), -1)), numbers
                assert newest >= last, f"{last}, then {numbers}"
                last = newest

    async def at_end(self, client: SimulatedClient) -> None:
        assert await client.query("rooms", names=["x", "y"]) == self.sent
