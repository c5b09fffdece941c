"""Why goals are not reached, and what would reach them. The page says it of the goals that it finds missed."""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """Of the rows that say one of `rows`, in works whose names have `work` in them."""

    work: str
    rows: tuple[str, ...]
    why: str

    def fits(self, work: str, row: str) -> bool:
        return self.work in work and any(part in row for part in self.rows)


_AMOUNT = (
    "On a disk that syncs in a tenth of a millisecond all of this is CPU. Counted with callgrind, a mutation over HTTP is 194,500 "
    "instructions (decisions 0020 and 0021), in a flat profile: 41 % the function's run, of which finding the row is 13 %, checking and "
    "packing the new one 12 %, the function itself with contexts and meter 16 %; 18 % batch and SQLite; 12 % answering; 10 % HTTP and "
    "JSON; 8 % transaction and commit. A document more in a batch is a row and mostly a page of its own in the write-ahead log. What would "
    "reach it are fewer objects: one for call, transaction and execution, and validators that write the packed bytes in one pass."
)
_ALONE = (
    "Between two requests of one caller the core sleeps, and each finds its caches cold, so it is the amount of code and memory touched "
    "that counts: three to four times the CPU of one among 64, who share a batch. There is no task and no turn of the loop in it any more "
    "(decision 0020). By callgrind a fifth of a lone mutation is the sqlite3 module: four statements (begin, document, log, commit), where "
    "a hand-written program has one UPDATE. Where one in ten syncs takes a millisecond, two changes of thread are added. It is reached "
    "by fewer statements, and by fewer objects a call."
)
_RESULT = (
    "By callgrind a message and the newest 50 are 1,074,000 instructions, and half of that is the result: 24 % checking and copying it, "
    "5 of them for its size, and 23 % writing it as JSON, 15 of them a walk that looks for whole numbers. Another 17 % is parsing the 50 "
    "stored documents and 9 % finding them; insert, commit and HTTP are the rest. It is reached by one walk that checks, copies and "
    "counts, and by documents that a function returns as it got them going out as they are stored."
)
_BELOW = (
    "By callgrind, in an embedded backend, a mutation is 272,000 instructions through the component and 224,000 without. 28,000 are the "
    "host's part of the call below, of which nothing takes more than the checks of arguments and result, 5,000; 15,000 are what the "
    "component's function and its face do in Python beyond the naive function. It is reached by less Python: the compiled part is flat."
)
_CROSSING = (
    "A call into a worker that nothing else overlaps leaves the core to another process and comes back to cold caches: a bare "
    "crossing is 90 µs, the host's own part of the call takes 130 µs after it where it takes 60 in a row, and the worker has 150 µs "
    "of CPU of its own (decision 0016, by callgrind and /proc). One that is repeated alone is run ahead (decision 0029); what is left "
    "then are a frame sent and one read between two calls. At 64 callers the worker has another core, and the host does 28,000 "
    "instructions more than inline, on state that others have driven out of its caches meanwhile. It is reached by fewer objects for "
    "a call that waits."
)
_TREE = (
    "Inserts that end at the same time are told to the trigger in one list (decision 0031), and the write-ahead log is copied while the "
    "loop works (decision 0033): from 0.21 of a bare insert to 0.33 where a sync takes 0.5 ms, to 0.42 where it takes 2 ms more, and to "
    "0.43 in memory. By CPU it is 85 µs in the loop and 48 in the thread that writes, where a bare insert is 33 and 8: an insert of a "
    "random key writes a leaf, the counts above it and the log of commits, three pages of SQLite. It is reached by fewer documents an "
    "insert: an order that the engine keeps (decision 0030); or by tables written behind the log (decision 0033), and a tenth less in "
    "the loop. To write while the next inserts run gains a tenth, for a fifth more CPU."
)
_TRIGGERED = (
    "A batch is one call of the trigger and one of the aggregate (decision 0025). Half of what a row takes is there, where its place is "
    "looked for twice, before and after, in Python; and the leaves that a batch touches are written, which are the more a row the "
    "smaller it is: a busy backend gets small ones."
)
_SPOKEN_FOR = (
    "Nothing is run twice: a mutation in a worker is held to what it has read when it ends (decision 0016). What is left is the crossing, "
    "and that the host reads, compares and writes again each node of the tree that the worker has changed. It is reached by nodes of "
    "which the difference crosses. Nodes of more than 8 KiB were asked for anew with every insert when this was measured (decision 0016)."
)

REASONS = [
    Reason("sandbox", ("p50, sandboxed - inline",), _CROSSING),
    Reason("sandbox", ("sandboxed : inline",), _CROSSING),
    Reason("naive counter", ("through sharded_counter",), _BELOW),
    Reason("naive counter", ("server CPU a mutation", "× "), _AMOUNT),
    Reason("naive counter", ("p50 : ",), _ALONE),
    Reason(
        "official JavaScript client",
        ("p50",),
        _ALONE
        + " Over the socket it is 740 µs: its answer is kept under the request in the same transaction, which is a second document, a key "
        "of its index and a commit timestamp to be filled into both; and frames of clients go through a parser that is interpreted.",
    ),
    Reason("message", ("× ",), _RESULT),
    Reason("same with 1,000,000", ("× ",), _RESULT),
    Reason(
        "",
        ("longest pause",),
        "It is no collection and no checkpoint: in five seconds of this load the collector came 146 times for 0.1 to 0.3 ms and 14 times "
        "for 1 to 2 ms, and never went through everything (gc.callbacks). The 64 callers go in step: all their requests are there in one "
        "turn of the loop, and are run before the first of them is answered, so the pause is 64 times the CPU of one, and the sync. It is "
        "reached by what makes one of them cheaper.",
    ),
    Reason(
        "live subscribers",
        ("bare fan-out", "ack"),
        "CPU of one fan-out, by /proc: 9.8 to 10.4 ms, the bare server's 7.1, nearly all of it system calls. The mutation and its query "
        "run again once are 0.2 ms of the difference; the rest are nine calls for each of a thousand sessions, some 2 µs where caches "
        "are warm: marked, asks for the result, hears that it is there, waits for its turn, looks at it, sends. It is reached by marking "
        "sessions that look at one query together, as one list, which takes two of the three passes over their memory away.",
    ),
    Reason(
        "ranges",
        ("server CPU of a write, its query run again", "p50 of a write"),
        "By callgrind the run of the query alone (147,000 instructions: SDK, cursor, two rows) is two thirds of a write (225,000), so some "
        "1.7 would be left without all else; finding and ending the entry is 46,000, and with 10,000 queries instead of 200 a write and "
        "its re-run take a third longer, as nothing is in the caches. It is not the collector: in five seconds of this load it does not "
        "come once (gc.callbacks; decision 0015). It is reached by `ctx.db.query` compiled, and by fewer objects for each subscription.",
    ),
    Reason("behind a trigger", ("sandboxed : inline",), _SPOKEN_FOR),
    Reason("behind a trigger", ("bare insert",), _TREE),
    Reason("aggregate of 10,000", ("sandboxed : inline",), _CROSSING),
    Reason("aggregate of 10,000", ("the original",), _TREE),
    Reason(
        "over 336,776 flights",
        ("attaching",),
        "What the host does for a batch, reading rows, checking what the worker has done and writing it, is as much as the worker's own "
        "part. The two overlap while the worker writes (decision 0016), and not while it reads, nor while the host commits and reads the "
        "next rows: 0.56 to 0.75 of inline, median 0.68, on a machine whose speed changes meanwhile. It is reached by fewer operations: "
        "many documents read and patched in one.",
    ),
    Reason(
        "over 336,776 flights",
        ("attached",),
        "It is the CPU of one thread: 200 µs a row on the AMD machine, 102 on the Intel one of 2026-11-29, where it took 34 s. A row is "
        "read, its place is found a level at a time for a whole batch, and its leaf and the counts above it are written; the four who "
        "report meanwhile get 40 to 56 turns a second. It is reached as an insert through the trigger is.",
    ),
    Reason("over 336,776 flights", ("with its trigger, sandboxed",), _CROSSING),
    Reason("flights", ("with its trigger",), _TRIGGERED),
    Reason(
        "flights",
        ("inline : SQLAlchemy",),
        "It varies with the machine: 1.53 and 1.58 on the Intel one of 2026-11-29, 1.24 on the AMD one of the day after, with the same "
        "code.",
    ),
    Reason(
        "a sandboxed component that does nothing",
        ("as it is",),
        "A call halts either processor once, and this hypervisor may take 0.5 ms to wake it: in bursts of 20 to 60 calls each has 0.5 ms "
        "more. With processors that do not halt it was 0.19 to 0.27 ms in five runs of 4,000 calls, in turn with 0.25 to 0.77 as it is, "
        "and with both processes on one processor 0.30 to 0.36.",
    ),
    Reason(
        "burns cpu and talks meanwhile",
        ("p99",),
        "1.14 in 21 rounds, 1.33 in 15 of another hour. It asks a hundred times a second for 0.5 ms of the loop's time, in a share of a "
        "twentieth (decisions 0017 and 0024).",
    ),
    Reason(
        "floods the host with logs",
        ("p99",),
        "Within what fifteen rounds say: 1.06 side by side with 1.26 for shorter pauses (decision 0024).",
    ),
    Reason("rate limit", ("sandboxed : inline",), _CROSSING),
    Reason("rate limit", ("the original", "pyrate-limiter", "Redis"), _AMOUNT),
    Reason("workflow", ("sandboxed : inline",), _CROSSING),
    Reason(
        "workflow",
        ("",),
        "By samples of the whole process (py-spy, inline): the turns of the runs are 48 % of the loop's time, of which the workflow's own "
        "function and the steps it calls are 29; beginning runs is 25 %; the thread that writes has a sixth of all samples. Below that it "
        "is flat: documents checked, packed and put into indexes. It is reached by fewer documents a run.",
    ),
    Reason(
        "",
        ("memory", "own memory", "backend, zygote"),
        "The compiled modules are shared objects of their own: of them 14 MiB are resident (`/proc/…/smaps`), all but little of "
        "it clean pages of files. Beside them pydantic and Interlock's own modules are the largest.",
    ),
    Reason(
        "a worker, from nothing",
        ("p50",),
        "Most of it are about 850 pages that the worker copies when it first writes to them. It is reached by a smaller zygote.",
    ),
    Reason(
        "pending jobs",
        ("server CPU a commit",),
        "Within what a turn of a second says: it was 0.96 in another run of the same day, with the same code there. A commit "
        "looks its tables up once, however many jobs are planned.",
    ),
    Reason(
        "floods the host with frames",
        ("p99",),
        "A twentieth of the loop's time is the flood's (decision 0024): about 130 queries a second, 0.5 ms each with the loop's turns "
        "around them. A call that meets one waits that much longer.",
    ),
    Reason(
        "floods the host with jobs",
        ("p99",),
        "One caller beside the flood meets 1.2 to 6.2 jobs in 100 of its calls, counted, so its p99 is that of a call beside a job. A "
        "rule that leaves 0.75 in 100 was tried: p99 stayed at 1.65, and an honest backlog came to 4 to 6 jobs a second (decision 0024).",
    ),
    Reason("cached query", ("",), _AMOUNT),
    Reason(
        "durability",
        ("",),
        "The sync itself: of the 15 µs of CPU that it adds to a mutation (64 callers, a batch each; by /proc, thread by thread) 7 µs are "
        "the kernel's in the thread that writes, 6 µs the kernel's in the loop's, which is interrupted and switched to meanwhile, and 2 µs "
        "user code. It is reached by larger batches, that is by more callers, or by a mutation that costs more.",
    ),
]


def reason_of(work: str, row: str) -> str:
    """What is known, or that nothing is."""
    return next((reason.why for reason in REASONS if reason.fits(work, row)), "Nobody has looked yet.")
