"""Is a history serializable? A checker in the style of Elle, by Kingsbury and Alvaro.

A history says what clients did and what they were answered. Every value is written once, so what was read tells whose write was
seen: that gives a graph of who must come before whom. A history that some order explains has no cycle in this graph; a cycle
is printed with the reason of each of its steps.

    ww  wrote the version after which the other wrote the next one
    wr  wrote what the other read
    rw  read a version of which the other wrote the next one
    rt  was answered before the other was asked; or planned it

Two kinds of objects: lists, to which values are appended and which tell the order of their versions by themselves; and registers,
whose order is known where a transaction reads before it writes.

Start at `check`. Knows nothing of Interlock.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice, pairwise
from typing import Any, NamedTuple

# What a transaction does.


class Append(NamedTuple):
    """To a list."""

    key: str
    value: int


class ReadList(NamedTuple):
    """A whole list was read."""

    key: str
    values: tuple[int, ...]


class ReadLast(NamedTuple):
    """The last element of a list was read; None: there was none."""

    key: str
    value: int | None


class Count(NamedTuple):
    """The length of a list was read."""

    key: str
    length: int


class Put(NamedTuple):
    """A register was written."""

    key: str
    value: int


class Get(NamedTuple):
    """A register was read; None: it had never been written."""

    key: str
    value: int | None


class Layer(NamedTuple):
    """A sub-transaction. What a dropped one wrote was never there for anybody else; what it read was read."""

    ops: tuple[Any, ...]
    is_dropped: bool


Op = Append | ReadList | ReadLast | Count | Put | Get | Layer


class Status(Enum):
    """`OK`: answered, and it stands. `FAILED`: it surely wrote nothing. `UNKNOWN`: never answered, so it may stand or not."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass
class Txn:
    """One transaction as its client knows it.

    `begun` and `ended` are points in one order of time; `ended` None: no answer came, or nobody saw when. What was read by a
    transaction that got no answer is not looked at. Transactions with one `request` are one that was sent several times. `ts` is
    the timestamp of the answer. `planned_by` is the name or request of the transaction that scheduled this one.
    """

    name: str
    ops: Sequence[Op]
    status: Status = Status.OK
    begun: int = 0
    ended: int | None = None
    request: str | None = None
    ts: int | None = None
    planned_by: str | None = None

    def __str__(self) -> str:
        more = f", request {self.request}" if self.request else ""
        time = f"{self.begun}…{'' if self.ended is None else self.ended}"
        return f"{self.name} ({self.status.value}, {time}{more}): {_listed(self.ops)}"


@dataclass(frozen=True)
class Anomaly:
    """`kind` is Adya's name for a cycle, or a word for what no order of whole transactions could ever show."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


_SHOWN_MAX = 5
_TRIED_MAX = 200  # starts of cycles: a history that is wrong all over need not be searched for its very shortest one


def check(history: Iterable[Txn]) -> list[Anomaly]:
    """What is wrong with a history."""
    checker = _Checker(history)
    return [*checker.anomalies, *checker.cycles()]


def shown(anomalies: Sequence[Anomaly]) -> str:
    """The first few of them, to be read."""
    return f"{len(anomalies)} anomalies\n\n" + "\n\n".join(map(str, anomalies[:_SHOWN_MAX]))


# What one transaction did, as others can see it.


@dataclass
class _Reads:
    """What a transaction saw of one list that it had not written itself."""

    whole: list[tuple[int, ...]] = field(default_factory=list)
    last: list[int | None] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


@dataclass
class _Seen:
    """One transaction, flattened."""

    lists: dict[str, _Reads] = field(default_factory=dict)
    appends: dict[str, list[int]] = field(default_factory=dict)
    registers: dict[str, int | None] = field(default_factory=dict)
    puts: dict[str, list[int]] = field(default_factory=dict)  # all versions, the last one is what others may see
    follows: dict[str, int | None] = field(default_factory=dict)  # the version that the first put came after, where it was read
    dropped: set[tuple[str, int]] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


def _flatten(ops: Sequence[Op]) -> _Seen:
    seen = _Seen()
    _walk(ops, seen)
    return seen


def _walk(ops: Sequence[Op], seen: _Seen) -> None:
    for op in ops:
        match op:
            case Append(key, value):
                seen.appends.setdefault(key, []).append(value)
            case ReadList(key, values):
                own = tuple(seen.appends.get(key, ()))
                if own and values[-len(own) :] != own:
                    seen.wrong.append(f"{_op(op)} without its own {list(own)} at the end")
                else:
                    _reads(seen, key).whole.append(values[: len(values) - len(own)])
            case ReadLast(key, value):
                own = tuple(seen.appends.get(key, ()))
                if own and value != own[-1]:
                    seen.wrong.append(f"{_op(op)}, after appending {own[-1]}")
                elif not own:
                    _reads(seen, key).last.append(value)
            case Count(key, length):
                _reads(seen, key).counts.append(length - len(seen.appends.get(key, ())))
            case Put(key, value):
                if key not in seen.puts and key in seen.registers:
                    seen.follows[key] = seen.registers[key]
                seen.puts.setdefault(key, []).append(value)
            case Get(key, value):
                written = seen.puts.get(key)
                if written:
                    if value != written[-1]:
                        seen.wrong.append(f"{_op(op)}, after writing {written[-1]}")
                elif seen.registers.setdefault(key, value) != value:
                    seen.wrong.append(f"{_op(op)}, after reading {seen.registers[key]}")
            case Layer(inner, is_dropped):
                if not is_dropped:
                    _walk(inner, seen)
                    continue
                appends, puts, follows = _copy(seen.appends), _copy(seen.puts), dict(seen.follows)
                _walk(inner, seen)
                for before, after in ((appends, seen.appends), (puts, seen.puts)):
                    for key, versions in after.items():
                        seen.dropped.update((key, version) for version in versions[len(before.get(key, ())) :])
                seen.appends, seen.puts, seen.follows = appends, puts, follows


def _reads(seen: _Seen, key: str) -> _Reads:
    return seen.lists.setdefault(key, _Reads())


def _copy(lists: dict[str, list[int]]) -> dict[str, list[int]]:
    return {key: list(values) for key, values in lists.items()}


# The graph.

WW, WR, RW, RT = 1, 2, 4, 8
_KINDS = {WW: "ww", WR: "wr", RW: "rw", RT: "rt"}


class Graph:
    """Who must come before whom, and why. Nodes are numbers; those from `first_moment` on are moments in time, which no cycle shows."""

    def __init__(self, first_moment: int) -> None:
        self.first_moment = first_moment
        self.nodes = first_moment
        self._edges: dict[int, dict[int, int]] = defaultdict(dict)
        self._reasons: dict[tuple[int, int, int], str] = {}

    def add(self, before: int, after: int, kind: int, reason: str = "") -> None:
        if before != after:
            self._edges[before][after] = self._edges[before].get(after, 0) | kind
            self._reasons.setdefault((before, after, kind), reason)

    def moment(self) -> int:
        self.nodes += 1
        return self.nodes - 1

    def after(self, node: int, kinds: int) -> Iterator[int]:
        return (after for after, known in self._edges.get(node, {}).items() if known & kinds)

    def edges(self, nodes: set[int], kind: int) -> Iterator[tuple[int, int]]:
        return ((node, after) for node in nodes for after in self.after(node, kind) if after in nodes)

    def reason(self, before: int, after: int, kinds: int) -> tuple[int, str]:
        """The strongest kind of a step, and its reason."""
        known = self._edges[before][after] & kinds
        kind = next(kind for kind in (WW, WR, RW, RT) if known & kind)
        return kind, self._reasons[before, after, kind]

    def components(self, kinds: int, among: set[int] | None = None) -> list[set[int]]:
        """The strongly connected components of more than one node: Tarjan's algorithm, without recursion."""
        index: dict[int, int] = {}
        low: dict[int, int] = {}
        stack: list[int] = []
        on_stack: set[int] = set()
        found: list[set[int]] = []
        for root in list(self._edges) if among is None else among:
            if root in index:
                continue
            index[root] = low[root] = len(index)
            stack.append(root)
            on_stack.add(root)
            work = [(root, self.after(root, kinds))]
            while work:
                node, rest = work[-1]
                for after in rest:
                    if among is not None and after not in among:
                        continue
                    if after not in index:
                        index[after] = low[after] = len(index)
                        stack.append(after)
                        on_stack.add(after)
                        work.append((after, self.after(after, kinds)))
                        break
                    if after in on_stack:
                        low[node] = min(low[node], index[after])
                else:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[node])
                    if low[node] == index[node]:
                        component: set[int] = set()
                        while True:
                            member = stack.pop()
                            on_stack.discard(member)
                            component.add(member)
                            if member == node:
                                break
                        if len(component) > 1:
                            found.append(component)
        return found

    def path(self, start: int, end: int, kinds: int, among: set[int]) -> list[int] | None:
        """The shortest way, both ends included. Moments cost nothing worth counting."""
        came_from = {start: start}
        queue = deque([start])
        while queue:
            node = queue.popleft()
            if node == end:
                path = [end]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1]
            for after in self.after(node, kinds):
                if after in among and after not in came_from:
                    came_from[after] = node
                    (queue.appendleft if after >= self.first_moment else queue.append)(after)
        return None


class _Checker:
    def __init__(self, history: Iterable[Txn]) -> None:
        self.anomalies: list[Anomaly] = []
        self._txns = self._merge(history)
        self._seen = [_flatten(txn.ops) for txn in self._txns]
        self._graph = Graph(len(self._txns))
        self._writers: dict[tuple[str, int], int] = {}
        self._aborted: dict[tuple[str, int], int] = {}
        self._standing = {number for number, txn in enumerate(self._txns) if txn.status is Status.OK}
        self._find_writers()
        self._find_internal()
        self._find_standing()
        self._add_lists()
        self._add_registers()
        self._add_time()

    def _wrong(self, kind: str, text: str) -> None:
        self.anomalies.append(Anomaly(kind, text))

    def _merge(self, history: Iterable[Txn]) -> list[Txn]:
        """One transaction for each request, however often it was sent. An attempt that failed has read on its own account."""
        merged: list[Txn] = []
        by_request: dict[str, Txn] = {}
        for txn in history:
            known = by_request.get(txn.request) if txn.request is not None else None
            if txn.request is None:
                merged.append(txn)
            elif txn.status is Status.FAILED:
                merged.append(Txn(txn.name, tuple(_only_reads(txn.ops)), txn.status, txn.begun, txn.ended))
            elif known is None:
                one = Txn(txn.name, txn.ops, txn.status, txn.begun, txn.ended, txn.request, txn.ts, txn.planned_by)
                by_request[txn.request] = one
                merged.append(one)
            elif txn.status is Status.OK:
                if known.status is Status.OK and list(known.ops) != list(txn.ops):
                    self._wrong("resent", f"one request has two answers:\n  {known}\n  {txn}")
                known.begun = min(known.begun, txn.begun)
                if known.status is not Status.OK:
                    known.ended = txn.ended
                elif known.ended is not None and txn.ended is not None:
                    known.ended = min(known.ended, txn.ended)
                known.ops, known.status, known.ts = txn.ops, Status.OK, txn.ts
            else:
                known.begun = min(known.begun, txn.begun)
        return merged

    def _find_writers(self) -> None:
        for number, (txn, seen) in enumerate(zip(self._txns, self._seen, strict=True)):
            written = {(key, value) for values in (seen.appends, seen.puts) for key, own in values.items() for value in own}
            if txn.status is Status.FAILED:
                self._aborted.update(dict.fromkeys(written | seen.dropped, number))
            else:
                for version in written:
                    if version in self._writers:
                        raise ValueError(f"the history writes {version} twice: {self._txns[self._writers[version]]} and {txn}")
                    self._writers[version] = number
                self._aborted.update(dict.fromkeys(seen.dropped, number))
        for version in self._writers:
            self._aborted.pop(version, None)

    def _find_internal(self) -> None:
        for number, txn in self._readers():
            for what in self._seen[number].wrong:
                self._wrong("internal", f"{what}:\n  {txn}")

    def _readers(self) -> Iterator[tuple[int, Txn]]:
        """Whose reads can be trusted: whoever was answered, with an error too."""
        return ((number, txn) for number, txn in enumerate(self._txns) if txn.status is not Status.UNKNOWN)

    def _find_standing(self) -> None:
        """A transaction of unknown outcome stands if anybody has read what it wrote."""
        for number, _ in self._readers():
            seen = self._seen[number]
            for key, reads in seen.lists.items():
                for value in {value for whole in reads.whole for value in whole} | {value for value in reads.last if value is not None}:
                    self._look(number, key, value)
            for key, read in seen.registers.items():
                if read is not None:
                    self._look(number, key, read)

    def _look(self, reader: int, key: str, value: int) -> None:
        writer = self._writers.get((key, value))
        if writer is not None:
            self._standing.add(writer)
        elif (key, value) in self._aborted:
            self._wrong(
                "G1a",
                f"{value} of {key} was read, but was never committed:\n  {self._txns[reader]}\n  {self._txns[self._aborted[key, value]]}",
            )
        else:
            self._wrong("garbage", f"{value} of {key} was read and never written:\n  {self._txns[reader]}")

    # lists

    def _add_lists(self) -> None:
        reads: dict[str, list[tuple[int, _Reads]]] = defaultdict(list)
        appends: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, _ in self._readers():
            for key, own in self._seen[number].lists.items():
                reads[key].append((number, own))
        for number in self._standing:
            for key, values in self._seen[number].appends.items():
                appends[key] += [(number, value) for value in values]
        for key in sorted({*reads, *appends}):
            self._add_list(key, reads[key], appends[key])

    def _add_list(self, key: str, reads: list[tuple[int, _Reads]], appends: list[tuple[int, int]]) -> None:
        order = self._order(key, reads)
        places = {value: at for at, value in enumerate(order)}
        writers = [self._writers.get((key, value)) for value in order]
        for at in range(1, len(order)):
            before, after = writers[at - 1], writers[at]
            if before is not None and after is not None:
                self._graph.add(before, after, WW, f"appended {order[at]} to {key} behind the other's {order[at - 1]}")
        # What stands and was never read comes after everything that was.
        unseen = [(number, value) for number, value in appends if value not in places]
        newest = writers[-1] if writers else None
        if newest is not None:
            for number, value in unseen:
                self._graph.add(newest, number, WW, f"appended {value} to {key}, which was never read, behind the other's {order[-1]}")
        for number, own in reads:
            lengths = {len(whole) for whole in own.whole} | set(own.counts)
            for last in own.last:
                writer = None if last is None else self._writers.get((key, last))
                if last is None:
                    lengths.add(0)
                elif last in places:
                    lengths.add(places[last] + 1)
                elif writer is not None:
                    self._graph.add(writer, number, WR, f"read the other's {last} at the end of {key}")
            if len(lengths) > 1:
                self._wrong("internal", f"{key} was read with {sorted(lengths)} elements in one transaction:\n  {self._txns[number]}")
            for length in lengths:
                self._add_read(key, number, length, order, writers, unseen)

    def _add_read(
        self, key: str, reader: int, length: int, order: Sequence[int], writers: Sequence[int | None], unseen: Sequence[tuple[int, int]]
    ) -> None:
        if not 0 <= length <= len(order):
            if length < 0 or length > len(order) + len(unseen):
                self._wrong("garbage", f"{key} never had {length} elements:\n  {self._txns[reader]}")
            return
        last = writers[length - 1] if length else None
        following = writers[length] if length < len(order) else None
        if last is not None:
            self._graph.add(last, reader, WR, f"read {key} up to the other's {order[length - 1]}")
            if last == following and last != reader:
                self._wrong("G1b", f"{key} was read between two appends of one transaction:\n  {self._txns[reader]}\n  {self._txns[last]}")
        if following is not None:
            self._graph.add(reader, following, RW, f"read {key} without the other's {order[length]}")
        elif length == len(order):
            for number, value in unseen:
                self._graph.add(reader, number, RW, f"read {key} without the other's {value}")

    def _order(self, key: str, reads: list[tuple[int, _Reads]]) -> tuple[int, ...]:
        """The values of a list in their order: its longest read, of which all others have to be beginnings."""
        longest: tuple[int, ...] = ()
        longest_reader = -1
        for number, own in reads:
            for whole in own.whole:
                if len(whole) > len(longest):
                    longest, longest_reader = whole, number
        for number, own in reads:
            for whole in own.whole:
                if longest[: len(whole)] != whole:
                    self._wrong(
                        "incompatible order",
                        f"{key} was read as {_values(whole)} and as {_values(longest)}:\n"
                        f"  {self._txns[number]}\n  {self._txns[longest_reader]}",
                    )
        if len(set(longest)) < len(longest):
            twice = sorted({value for value in longest if longest.count(value) > 1})
            self._wrong("duplicate", f"{key} holds {twice} more than once:\n  {self._txns[longest_reader]}")
        return longest

    # registers

    def _add_registers(self) -> None:
        follows: dict[tuple[str, int | None], list[tuple[int, int]]] = defaultdict(list)
        for number in sorted(self._standing):
            seen = self._seen[number]
            for key, values in seen.puts.items():
                # Without a read before it, all that is known is that it comes after the state at the very beginning. What a
                # transaction of unknown outcome has read is not known.
                before = seen.follows.get(key) if self._txns[number].status is Status.OK else None
                follows[key, before].append((number, values[0]))
                writer = self._writers.get((key, before)) if before is not None else None
                if writer is not None:
                    self._graph.add(writer, number, WW, f"wrote {values[0]} to {key} after reading the other's {before}")
        for number, _ in self._readers():
            for key, read in self._seen[number].registers.items():
                if read is not None and (writer := self._writers.get((key, read))) is not None:
                    self._graph.add(writer, number, WR, f"read {key} as the other's {read}")
                    if writer != number and self._seen[writer].puts[key][-1] != read:
                        text = f"{key} was read as {read}, which its writer wrote over:\n  {self._txns[number]}\n  {self._txns[writer]}"
                        self._wrong("G1b", text)
                for after, value in follows[key, read]:
                    self._graph.add(number, after, RW, f"read {key} as {read}, after which the other wrote {value}")

    # time

    def _add_time(self) -> None:
        """Whoever was answered before another was asked comes first. A chain of moments keeps the edges few."""
        events: list[tuple[int, int, int]] = []
        numbers = {name: number for number, txn in enumerate(self._txns) for name in (txn.name, txn.request) if name is not None}
        for number, txn in enumerate(self._txns):
            if txn.status is Status.UNKNOWN and number not in self._standing:
                continue
            events.append((txn.begun, 0, number))
            if txn.ended is not None and txn.status is not Status.UNKNOWN:
                events.append((txn.ended, 1, number))
            if txn.planned_by is not None and txn.planned_by in numbers:
                self._graph.add(numbers[txn.planned_by], number, RT, "planned the other")
        now: int | None = None
        for _, is_end, number in sorted(events):
            if is_end:
                then, now = now, self._graph.moment()
                if then is not None:
                    self._graph.add(then, now, RT)
                self._graph.add(number, now, RT)
            elif now is not None:
                self._graph.add(now, number, RT)
        self._check_timestamps()

    def _check_timestamps(self) -> None:
        """Timestamps of answers, where they are known, have to agree with who saw whom."""
        known = {number: txn.ts for number, txn in enumerate(self._txns) if txn.ts is not None and txn.status is Status.OK}
        writes = {number for number in known if self._seen[number].appends or self._seen[number].puts}
        for before in known:
            for after in self._graph.after(before, WW | WR | RW):
                if after not in known:
                    continue
                # Of two at one timestamp one has only read: behind the commit that it names.
                is_late = known[before] > known[after] or (known[before] == known[after] and (before not in writes and after in writes))
                if is_late:
                    kind, reason = self._graph.reason(before, after, WW | WR | RW)
                    self._wrong(
                        "timestamp",
                        f"{known[before]} comes before {known[after]} ({_KINDS[kind]}: {reason}):\n"
                        f"  {self._txns[before]}\n  {self._txns[after]}",
                    )

    # cycles

    def cycles(self) -> list[Anomaly]:
        """One cycle of each knot, of the worst kind that is in it."""
        return [self._worst(component) for component in self._graph.components(WW | WR | RW | RT)]

    def _worst(self, component: set[int]) -> Anomaly:
        for name, kinds in (("G0", WW), ("G1c", WW | WR), ("G0-realtime", WW | RT), ("G1c-realtime", WW | WR | RT)):
            cycle = self._shortest(component, kinds)
            if cycle is not None:
                return self._shown(name, cycle, kinds)
        for name, rest in (("G-single", WW | WR), ("G-single-realtime", WW | WR | RT), ("G2", WW | WR | RW), ("G2-realtime", 15)):
            best: list[int] | None = None
            for reader, writer in islice(self._graph.edges(component, RW), _TRIED_MAX):
                path = self._graph.path(writer, reader, rest, component)
                if path is not None and (best is None or len(path) + 1 < len(best)):
                    best = [reader, *path]
            if best is not None:
                return self._shown(name, best, rest | RW)
        raise AssertionError("a strongly connected component has a cycle")

    def _shortest(self, component: set[int], kinds: int) -> list[int] | None:
        best: list[int] | None = None
        for inner in self._graph.components(kinds, component):
            for node in [node for node in inner if node < self._graph.first_moment][:_TRIED_MAX]:
                for after in self._graph.after(node, kinds):
                    path = self._graph.path(after, node, kinds, inner) if after in inner else None
                    if path is not None and (best is None or len(path) + 1 < len(best)):
                        best = [node, *path]
        return best

    def _shown(self, name: str, cycle: list[int], kinds: int) -> Anomaly:
        if cycle[0] >= self._graph.first_moment:  # begin with a transaction
            at = next(at for at, node in enumerate(cycle) if node < self._graph.first_moment)
            cycle = [*cycle[at:-1], *cycle[: at + 1]]
        steps: list[str] = []
        previous = cycle[0]
        through_time = False
        for node, following in pairwise(cycle):
            kind, reason = self._graph.reason(node, following, kinds)
            if following >= self._graph.first_moment:
                through_time = True
                continue
            if through_time:
                kind, reason, through_time = RT, "was answered before the other was asked", False
            steps.append(self._step(previous, following, kind, reason))
            previous = following
        members = [node for node in dict.fromkeys(cycle) if node < self._graph.first_moment]
        described = "\n".join(f"  {self._txns[node]}" for node in members)
        return Anomaly(name, f"no order has room for these {len(members)}:\n{described}\n" + "\n".join(f"    {step}" for step in steps))

    def _step(self, before: int, after: int, kind: int, reason: str) -> str:
        first, second = self._txns[before].name, self._txns[after].name
        if kind in (WW, WR):
            return f"{first} ─{_KINDS[kind]}→ {second}: {second} {reason}"
        return f"{first} ─{_KINDS[kind]}→ {second}: {first} {reason}"


def _only_reads(ops: Iterable[Op]) -> Iterator[Op]:
    """What was read before the first own write: after that, what is read depends on it."""
    for op in ops:
        if isinstance(op, Append | Put | Layer):
            return
        yield op


# As text.


def _listed(ops: Sequence[Op]) -> str:
    return ", ".join(map(_op, ops)) or "nothing"


def _op(op: Op) -> str:
    match op:
        case Append(key, value):
            return f"append {value} to {key}"
        case ReadList(key, values):
            return f"read {key} as {_values(values)}"
        case ReadLast(key, value):
            return f"read {value} as the last of {key}"
        case Count(key, length):
            return f"counted {length} in {key}"
        case Put(key, value):
            return f"write {value} to {key}"
        case Get(key, value):
            return f"read {key} as {value}"
        case Layer(inner, is_dropped):
            return ("dropped {" if is_dropped else "{") + _listed(inner) + "}"


def _values(values: Sequence[int]) -> str:
    if len(values) > 8:
        return f"[… {len(values) - 6} …, {', '.join(map(str, values[-6:]))}]"
    return str(list(values))
