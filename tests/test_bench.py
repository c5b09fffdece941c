"""What the benchmarks say is what was measured: their load checks every answer, and their rows are medians of ratios."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator

import pytest
from bench import report
from bench.load import Job, Load
from bench.rows import Figures, Result, Row, Run, Work, measure
from bench.servers import INTERLOCK, POCKETBASE, REDIS, Missing, Servers

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def figures_of(*values: float) -> Run:
    left: Iterator[float] = iter(values)
    return lambda servers, seconds: {"per_second": next(left)}


def missing(servers: Servers, seconds: float) -> Figures:
    raise Missing("it is not installed")


def measured(work: Work) -> Result:
    return measure(work, Servers(), rounds=3, seconds=1.0)


def test_a_row_is_the_median_over_the_rounds_of_the_ratio_within_each() -> None:
    row = Row("twice", "per_second", over=POCKETBASE, at_least=2)
    work = Work("w", {INTERLOCK: figures_of(10, 40, 300), POCKETBASE: figures_of(1, 20, 200)}, [row], warm_up=False)
    assert measured(work).verdict(row) == ("2.00", True)


@pytest.mark.parametrize(("rounds", "times", "had"), [(None, 1, 3), (1, 1, 1), (9, 1, 3), (None, 3, 9), (2, 2, 4)])
def test_a_work_has_fewer_rounds_where_it_is_long_and_more_where_it_is_noisy(rounds: int | None, times: int, had: int) -> None:
    work = Work("w", {INTERLOCK: figures_of(*range(9))}, [], rounds=rounds, times=times, warm_up=False)
    assert len(measured(work).rounds) == had


def test_a_peer_that_is_missing_or_fails_is_named_and_fails_the_run() -> None:
    row, alone = Row("twice", "per_second", over=POCKETBASE, at_least=2), Row("much", "per_second", at_least=7, decimals=0)
    result = measured(Work("w", {INTERLOCK: figures_of(8, 8, 8), POCKETBASE: missing}, [row, alone], warm_up=False))
    assert result.verdict(row) == ("MISSING", False)
    assert result.verdict(alone) == ("8", True)
    assert not result.is_whole
    page = report.page([result], 3, 1.0)
    assert "MISSING" in page
    assert "\n## What is not reached, and why\n\nNobody has looked yet.\n" in page

    def fails(servers: Servers, seconds: float) -> Figures:
        raise RuntimeError("unexpected answer")

    assert measured(Work("w", {INTERLOCK: fails}, [alone])).verdict(alone) == ("FAILED", False)


def test_redis_may_be_missing() -> None:
    assert measured(Work("w", {INTERLOCK: figures_of(8, 8, 8), REDIS: missing}, [], warm_up=False)).is_whole


async def load(answer: Answer, expected: str = "right") -> int:
    """How many answers a load counts of a server that answers like this."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(int(head.partition(b"Content-Length: ")[2].split(b"\r", 1)[0]))
                assert json.loads(body) == {"n": 1}
                await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
        return (await Load(Job(port, "/", ['{"n":1}'], 3, 0.05, expected)).run()).answers


async def whole(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nright")


async def in_bits(writer: asyncio.StreamWriter) -> None:
    for bit in (b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 5\r\n\r", b"\nri", b"ght"):
        writer.write(bit)
        await writer.drain()
        await asyncio.sleep(0)


async def in_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nright\r\n")
    await writer.drain()
    writer.write(b"0\r\n\r\n")


@pytest.mark.parametrize("answer", [whole, in_bits, in_chunks])
async def test_the_load_reads_answers_however_they_come(answer: Answer) -> None:
    assert await load(answer) >= 3


async def test_the_load_ends_at_the_first_answer_that_is_not_right() -> None:
    with pytest.raises(RuntimeError, match="unexpected answer"):
        await load(whole, expected="wrong")

    async def refused(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oh\r\ncontent-length: 5\r\n\r\nright")

    with pytest.raises(RuntimeError, match="unexpected answer"):
        await load(refused)
