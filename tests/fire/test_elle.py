"""The checker finds each anomaly in a small history that shows it, and none where there is none."""

from __future__ import annotations

import random

import pytest

from .elle import Append, Count, Get, Layer, Put, ReadLast, ReadList, Status, Txn, check, shown


def kinds(*history: Txn) -> list[str]:
    return [anomaly.kind for anomaly in check(history)]


def at_once(name: str, *ops: object, status: Status = Status.OK) -> Txn:
    """One of several that ran at the same time: real time orders none of them."""
    return Txn(name, ops, status, 0, 100)  # type: ignore[arg-type]


def between(begun: int, ended: int | None, name: str, *ops: object, status: Status = Status.OK) -> Txn:
    return Txn(name, ops, status, begun, ended)  # type: ignore[arg-type]


def test_a_history_that_some_order_explains_is_fine() -> None:
    assert kinds(
        at_once("a", ReadList("x", (1,)), Append("x", 2)),
        at_once("b", Append("x", 1)),
        at_once("c", ReadList("x", (1, 2)), ReadList("y", ())),
        at_once("d", Append("y", 1), ReadList("y", (1,)), Count("x", 2), ReadLast("x", 2)),
        at_once("e", Append("x", 9), status=Status.FAILED),
        at_once("f", Append("x", 8), status=Status.UNKNOWN),
    ) == []  # fmt: skip


def test_g0_two_writers_in_two_orders() -> None:
    assert kinds(
        at_once("a", Append("x", 1), Append("y", 1)),
        at_once("b", Append("x", 2), Append("y", 2)),
        at_once("c", ReadList("x", (1, 2)), ReadList("y", (2, 1))),
    ) == ["G0"]  # fmt: skip


def test_g1a_a_read_of_what_was_never_committed() -> None:
    assert kinds(at_once("a", Append("x", 1), status=Status.FAILED), at_once("b", ReadList("x", (1,)))) == ["G1a"]
    assert kinds(at_once("a", Put("x", 1), status=Status.FAILED), at_once("b", Get("x", 1))) == ["G1a"]


def test_g1a_a_read_of_what_a_dropped_sub_transaction_wrote() -> None:
    dropped = Layer((Append("x", 1), ReadList("x", (1,))), is_dropped=True)
    assert kinds(at_once("a", dropped, ReadList("x", ())), at_once("b", ReadList("x", ()))) == []
    assert kinds(at_once("a", dropped), at_once("b", ReadList("x", (1,)))) == ["G1a"]
    assert kinds(at_once("a", Layer((Append("x", 1),), is_dropped=False)), at_once("b", ReadList("x", (1,)))) == []


def test_g1b_a_read_in_the_middle_of_a_transaction() -> None:
    halved = kinds(at_once("a", Append("x", 1), Append("x", 2)), at_once("b", ReadList("x", (1,))), at_once("c", ReadList("x", (1, 2))))
    assert "G1b" in halved
    assert "G1b" in kinds(at_once("a", Put("x", 1), Put("x", 2)), at_once("b", Get("x", 1)))


def test_g1c_two_that_saw_each_others_writes() -> None:
    assert kinds(at_once("a", Append("x", 1), ReadList("y", (1,))), at_once("b", Append("y", 1), ReadList("x", (1,)))) == ["G1c"]
    assert kinds(at_once("a", Put("x", 1), Get("y", 1)), at_once("b", Put("y", 1), Get("x", 1))) == ["G1c"]


def test_g_single_a_reader_that_saw_half_of_another() -> None:
    assert kinds(at_once("a", Append("x", 1), Append("y", 1)), at_once("b", ReadList("x", (1,)), ReadList("y", ()))) == ["G-single"]
    assert kinds(at_once("a", Append("x", 1), Append("y", 1)), at_once("b", ReadLast("x", 1), Count("y", 0))) == ["G-single"]
    assert kinds(at_once("a", Put("x", 1), Put("y", 1)), at_once("b", Get("x", 1), Get("y", None))) == ["G-single"]


def test_g2_write_skew() -> None:
    assert kinds(at_once("a", ReadList("x", ()), Append("y", 1)), at_once("b", ReadList("y", ()), Append("x", 1))) == ["G2"]


def test_g2_a_lost_update_of_a_register() -> None:
    assert kinds(at_once("a", Put("x", 1)), at_once("b", Get("x", 1), Put("x", 2)), at_once("c", Get("x", 1), Put("x", 3))) == ["G2"]
    assert kinds(at_once("b", Get("x", None), Put("x", 2)), at_once("c", Get("x", None), Put("x", 3))) == ["G2"]


def test_g2_the_reads_of_a_dropped_sub_transaction_count() -> None:
    read = Layer((ReadList("x", ()), Append("z", 5)), is_dropped=True)
    assert kinds(at_once("a", read, Append("y", 1)), at_once("b", ReadList("y", ()), Append("x", 1))) == ["G2"]


def test_what_a_failed_transaction_has_read_counts() -> None:
    failed = at_once("b", ReadList("x", (1,)), ReadList("y", ()), status=Status.FAILED)
    assert kinds(at_once("a", Append("x", 1), Append("y", 1)), failed) == ["G-single"]


def test_a_lost_update_of_a_list_shows_as_two_orders() -> None:
    assert "incompatible order" in kinds(
        at_once("a", ReadList("x", ()), Append("x", 1)),
        at_once("b", ReadList("x", ()), Append("x", 2)),
        at_once("c", ReadList("x", (1,))),
        at_once("d", ReadList("x", (2,))),
    )


def test_a_stale_read_is_a_cycle_in_real_time_only() -> None:
    writes, reads = (Append("x", 1),), (ReadList("x", ()),)
    assert kinds(between(0, 1, "a", *writes), between(2, 3, "b", *reads)) == ["G-single-realtime"]
    assert kinds(between(0, 2, "a", *writes), between(1, 3, "b", *reads)) == []


def test_time_that_runs_backwards_for_two_readers_is_found() -> None:
    history = between(0, None, "a", Append("x", 1), status=Status.UNKNOWN), between(1, 2, "b", ReadList("x", (1,)))
    assert kinds(*history) == []
    assert kinds(*history, between(3, 4, "c", ReadList("x", ()))) == ["G-single-realtime"]


def test_an_answered_write_that_nobody_finds_is_found() -> None:
    history = between(0, 1, "a", Append("x", 1)), between(2, 3, "b", Append("x", 2)), between(4, 5, "c", ReadList("x", (2,)))
    assert kinds(*history) == ["G0-realtime"]


def test_a_job_that_comes_before_what_planned_it_is_found() -> None:
    job = Txn("job", (ReadList("x", (2,)),), planned_by="plan")
    assert kinds(at_once("plan", ReadList("x", (2, 3))), job, at_once("a", Append("x", 2)), at_once("b", Append("x", 3))) == [
        "G-single-realtime"
    ]


def test_an_unknown_outcome_may_have_happened_or_not_but_not_half() -> None:
    unknown = at_once("a", Append("x", 1), Append("y", 1), status=Status.UNKNOWN)
    assert kinds(unknown, at_once("b", ReadList("x", ()), ReadList("y", ()))) == []
    assert kinds(unknown, at_once("b", ReadList("x", (1,)), ReadList("y", (1,)))) == []
    assert kinds(unknown, at_once("b", ReadList("x", (1,)), ReadList("y", ()))) == ["G-single"]


def test_one_request_sent_twice_is_one_transaction() -> None:
    def sent(name: str, begun: int, ended: int | None, status: Status, *ops: object) -> Txn:
        return Txn(name, ops, status, begun, ended, request="r")  # type: ignore[arg-type]

    append = ReadList("x", ()), Append("x", 1)
    once = sent("a", 0, None, Status.UNKNOWN, Append("x", 1)), sent("b", 5, 6, Status.OK, *append), sent("c", 7, 8, Status.OK, *append)
    assert kinds(*once, between(3, 4, "d", ReadList("x", (1,)))) == []
    assert kinds(*once, between(9, 10, "d", ReadList("x", (1, 1)))) == ["duplicate"]
    assert "resent" in kinds(*once, sent("e", 9, 10, Status.OK, ReadList("x", (7,)), Append("x", 1)), between(0, 20, "f", Append("x", 7)))
    failed = sent("a", 0, 1, Status.FAILED, ReadList("y", ()), Append("x", 1))
    assert kinds(failed, sent("b", 2, 3, Status.OK, *append), between(0, 9, "d", ReadList("x", (1,)))) == []


def test_a_transaction_that_disagrees_with_itself_is_found() -> None:
    assert kinds(at_once("a", Append("x", 1), ReadList("x", ()))) == ["internal"]
    assert kinds(at_once("a", Put("x", 1), Get("x", None))) == ["internal"]
    assert kinds(at_once("a", Append("x", 1)), at_once("b", ReadList("x", ()), ReadList("x", (1,))))[0] == "internal"
    assert kinds(at_once("a", Put("x", 1)), at_once("b", Get("x", None), Get("x", 1)))[0] == "internal"


def test_values_out_of_nowhere_are_found() -> None:
    assert kinds(at_once("a", ReadList("x", (7,)))) == ["garbage"]
    assert kinds(at_once("a", Get("x", 7))) == ["garbage"]


def test_a_timestamp_that_disagrees_with_what_was_read_is_found() -> None:
    write = Txn("a", (Append("x", 1),), ended=1, ts=5)
    assert kinds(write, Txn("b", (ReadList("x", (1,)),), ended=1, ts=5)) == []
    assert kinds(write, Txn("b", (ReadList("x", (1,)),), ended=1, ts=4)) == ["timestamp"]
    assert kinds(write, Txn("b", (ReadList("x", ()),), ended=1, ts=5)) == ["timestamp"]


def test_a_cycle_is_printed_with_the_reason_of_each_step() -> None:
    text = shown(check([at_once("a", Append("x", 1), Append("y", 1)), at_once("b", ReadList("x", (1,)), ReadList("y", ()))]))
    assert text.startswith("1 anomalies\n\nG-single: no order has room for these 2:\n")
    assert "b (ok, 0…100): read x as [1], read y as []" in text
    assert "b ─rw→ a: b read y without the other's 1" in text
    assert "a ─wr→ b: b read x up to the other's 1" in text


@pytest.mark.parametrize("seed", range(20))
def test_whatever_ran_one_at_a_time_is_fine_and_the_order_in_which_it_is_told_does_not_matter(seed: int) -> None:
    """Transactions on a dict, one after the other; the history overlaps them at random."""
    chance = random.Random(seed)
    lists: dict[str, tuple[int, ...]] = {}
    registers: dict[str, int] = {}
    history = []
    for n in range(200):
        ops: list[object] = []
        for step in range(chance.randint(1, 5)):
            key, value = chance.choice("xyz"), n * 10 + step
            match chance.randrange(5):
                case 0:
                    lists[key] = (*lists.get(key, ()), value)
                    ops.append(Append(key, value))
                case 1:
                    ops.append(ReadList(key, lists.get(key, ())))
                case 2:
                    ops.append(Count(key, len(lists.get(key, ()))))
                case 3:
                    registers["r" + key] = value
                    ops.append(Put("r" + key, value))
                case 4:
                    ops.append(Get("r" + key, registers.get("r" + key)))
        # It stood at 10 n, somewhere between its begin and its end.
        history.append(Txn(f"t{n}", ops, Status.OK, 10 * n - chance.randint(0, 60), 10 * n + chance.randint(1, 60), ts=n))  # type: ignore[arg-type]
    chance.shuffle(history)
    assert check(history) == []
