"""A node of a tree, as a call works on it: the texts of its documents, read where they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate
from typing import Any

from interlock_aggregate.exact import Sum, add, read_counts, read_sums, write_sums

Number = int | float

UNCHANGED, RECOUNTED, CHANGED = 0, 1, 2
"""What may differ from what is stored of a node: nothing, its counts and sums, anything."""

_SHORT = 15  # digits, and two between numbers, that are far from what a float holds


class Node:
    """A leaf has no children, and its keys are the positions of its items.

    An inner node has one key less than children: those of child `i` are below `keys[i]`. `sums` is empty while all are 0,
    `counts` in a leaf and in a lazy root.

    Each of the four is one text, which is quicker checked and measured than a list. It is read when it is
    asked for: a count needs no sums, and who only passes by needs one child of many. What one item more or less changes in the
    counts and sums is changed in the text, where only one number has to be read and written. Who comes a second time in a call
    finds lists. Ids, counts and sums of children are equally long each, so that one is cut out where it has to be.

    What an inner node counts changes with every item, and its keys and children seldom. So the counts and sums have a document
    of their own, `totals`. Only when the children change, the counts go into the node's document with them: it has another
    `shape` then than the totals say, and what they say is out of date. `is_told` says whether the totals have been looked at.
    The totals of a lane are never out of date: the root names them too, and who counts everything reads them alone.

    `changed` says what has to be looked at when the tree is saved.
    """

    __slots__ = (
        "_children",
        "_counts",
        "_keys",
        "_sums",
        "_was_passed",
        "changed",
        "children_text",
        "counts_text",
        "id",
        "is_told",
        "keys_text",
        "shape",
        "stored",
        "stored_totals",
        "sums_text",
        "totals_id",
    )

    def __init__(self, id: str, document: Mapping[str, Any]) -> None:
        self.id = id
        self.stored = document
        self.stored_totals: Mapping[str, Any] | None = None
        self.keys_text: str = document["keys"]
        self.sums_text: str = document["sums"]
        self.totals_id: str = ""
        self.is_told = True
        if "children" in document:
            self.children_text: str = document["children"]
            self.counts_text: str = document["counts"]
            self.shape: int = document.get("shape", 0)
            if "shape" in document:
                self.totals_id = document["totals"]
                self.is_told = not self.totals_id
        else:
            self.children_text = self.counts_text = ""
            self.shape = 0
        self._keys: list[str] | None = None
        self._children: list[str] | None = None
        self._counts: list[int] | None = None
        self._sums: list[Sum] | None = None
        self._was_passed = False
        self.changed = UNCHANGED

    @classmethod
    def of_totals(cls, id: str, totals: Mapping[str, Any]) -> Node:
        """What the totals alone say: how many items there are, and what they come to."""
        return cls(id, {"keys": "", "children": id, "counts": totals["counts"], "sums": totals["sums"]})

    @classmethod
    def made(cls, id: str, keys: list[str], children: list[str], counts: list[int], sums: list[Sum]) -> Node:
        """A new one."""
        node = cls(id, _EMPTY)
        node._keys, node._children, node._counts, node._sums = keys, children, counts, sums
        return node

    def tell(self, totals: Mapping[str, Any]) -> None:
        """What its totals say."""
        self.is_told = True
        self.stored_totals = totals
        if totals["shape"] == self.shape:
            self.counts_text, self.sums_text = totals["counts"], totals["sums"]

    @property
    def is_out_of_date(self) -> bool:
        """Whether its totals are: its counts are with its children."""
        return self.stored_totals is not None and self.stored_totals["shape"] != self.shape

    # as documents

    def told_keys(self) -> str:
        """Its keys as one text."""
        if self._keys is not None:
            self.keys_text = "\n".join(self._keys)
        return self.keys_text

    def told_children(self) -> str:
        """Its children."""
        if self._children is not None:
            self.children_text = " ".join(self._children)
        return self.children_text

    def told_counts(self) -> str:
        """Its counts."""
        if self._counts is not None:
            self.counts_text = even(list(map(str, self._counts))) if self._counts else ""
        return self.counts_text

    def told_sums(self) -> str:
        """Its sums."""
        if self._sums is not None:
            self.sums_text = write_sums(self._sums)
            if self._sums and not self.is_leaf:
                self.sums_text = even(self.sums_text.split(", "))
        return self.sums_text

    def told(self) -> dict[str, Any]:
        """All four."""
        return {"keys": self.told_keys(), "children": self.told_children(), "counts": self.told_counts(), "sums": self.told_sums()}

    # what is in it

    @property
    def is_leaf(self) -> bool:
        """Whether it holds items, and not children."""
        return not (self.children_text if self._children is None else self._children)

    @property
    def keys(self) -> list[str]:
        """Positions of items, or what divides the children."""
        keys = self._keys
        if keys is None:
            text = self.keys_text
            keys = self._keys = text.split("\n") if text else []
        return keys

    @keys.setter
    def keys(self, keys: list[str]) -> None:
        self._keys = keys

    @property
    def fixed_keys(self) -> list[str]:
        """The same, not to be changed."""
        return self._keys if self._keys is not None else lines_of(self.keys_text) if self.children_text else self.keys

    @property
    def ends(self) -> list[int]:
        """How many items are in each child, those before it, and below. Not to be changed."""
        return running(self.counts_text) if self._counts is None else list(accumulate(self._counts))

    @property
    def children(self) -> list[str]:
        """Their ids."""
        if self._children is None:
            self._children = self.children_text.split()
        return self._children

    @children.setter
    def children(self, children: list[str]) -> None:
        self._children = children

    def child_id(self, i: int) -> str:
        """The id of one child."""
        if self._children is None and not self._was_passed:
            self._was_passed = True
            return nth_id(self.children_text, i, len(self.fixed_keys) + 1)
        return self.children[i]

    @property
    def counts(self) -> list[int]:
        """How many items are in each child and below."""
        counts = self._counts
        if counts is None:
            counts = self._counts = read_counts(self.counts_text)
        return counts

    @counts.setter
    def counts(self, counts: list[int]) -> None:
        self._counts = counts

    @property
    def sums(self) -> list[Sum]:
        """The sum of each item or child."""
        sums = self._sums
        if sums is None:
            sums = self._sums = read_sums(self.sums_text)
        return sums

    @sums.setter
    def sums(self, sums: list[Sum]) -> None:
        self._sums = sums

    @property
    def is_counted(self) -> bool:
        """Whether it knows how many items are in each child: all inner nodes but a lazy root do."""
        return bool(self.counts_text if self._counts is None else self._counts)

    @property
    def size(self) -> int:
        """How many items are in it and below; not for a lazy root."""
        if not self.is_leaf:
            ends = self.ends
            return ends[-1] if ends else 0
        return len(self._keys) if self._keys is not None else lines(self.keys_text)

    @property
    def width(self) -> int:
        """How many items or children are in it."""
        return len(self.keys) if self.is_leaf else len(self.children)

    def sum_at(self, i: int) -> Sum:
        """The sum of an item or child."""
        return self.sums[i] if self.sums else 0

    # changes

    def set_sum(self, i: int, value: Sum) -> None:
        """Change the sum of an item or child."""
        if self.sums:
            self.sums[i] = value
        elif value != 0:
            self.sums = [0] * self.width
            self.sums[i] = value

    def add_item(self, i: int, position: str, value: Number) -> None:
        """Put an item in place `i` of a leaf."""
        self.keys.insert(i, position)
        self.changed = CHANGED
        if self._sums is None and self.sums_text:
            parts = self.sums_text.split(", ", i)
            parts.insert(i, str(value))
            self.sums_text = ", ".join(parts)
        elif self.sums:
            self.sums.insert(i, value)
        else:
            self.set_sum(i, value)

    def count_child(self, i: int, items: int, more: Sum) -> None:
        """So many items more are in child `i` and below, and they come to so much more."""
        if self.changed or self._counts is not None or self._sums is not None:
            self.changed = self.changed or RECOUNTED
            self.counts[i] += items
        else:
            self.changed = RECOUNTED
            count = len(self.fixed_keys) + 1
            if items:
                self.counts_text = counted_up(self.counts_text, i, count, items)
            if more != 0:
                self.sums_text = counted_up(self.sums_text, i, count, more)
            return
        if more != 0:
            self.set_sum(i, add(self.sum_at(i), more))

    def add_child(self, i: int, key: str, child: Node) -> None:
        """Put a child in place `i` and the key between it and the one before; how many it has is set by whoever knows."""
        self.keys.insert(i - 1, key)
        self.children.insert(i, child.id)
        if self.counts:
            self.counts.insert(i, 0)
            if self.sums:
                self.sums.insert(i, 0)

    def drop_child(self, i: int) -> None:
        """Take a child out, and the key before it."""
        del self.keys[i - 1], self.children[i]
        if self.counts:
            del self.counts[i]
            if self.sums:
                del self.sums[i]


_EMPTY = dict.fromkeys(("keys", "children", "counts", "sums"), "")


def nth_id(text: str, i: int, count: int) -> str:
    """One of the ids in a text of so many, which are all of one table, and so equally long."""
    width = (len(text) + 1) // count
    start = i * width
    return text[start : start + width - 1]


def even(parts: list[str]) -> str:
    """Numbers as a text in which all are equally long, so that each is found without looking at the others."""
    width = max(map(len, parts))
    return ", ".join([part.rjust(width) for part in parts])


def counted_up(text: str, i: int, count: int, more: Sum) -> str:
    """A text of so many even numbers in which one is changed; an empty one stands for zeros."""
    if not text:
        text = ", ".join(["0"] * count)
    width = (len(text) + 2) // count
    start = i * width
    end = start + width - 2
    number = text[start:end]
    changed = ""
    if type(more) is int and width < _SHORT:
        try:
            changed = str(int(number) + more)
        except ValueError:
            pass  # a float, or one written as a text
    if not changed:
        changed = write_sums([add(read_sums(number)[0], more)])
    room = width - 2
    if len(changed) < room:
        changed = changed.rjust(room)
    elif len(changed) > room:
        parts = text.split(", ")
        parts[i] = changed
        return even(parts)
    return f"{text[:start]}{changed}{text[end:]}"


@lru_cache(maxsize=1_024)
def lines_of(text: str) -> list[str]:
    """The keys of an inner node, not to be changed. The same few hundred texts are read again and again."""
    return text.split("\n") if text else []


@lru_cache(maxsize=1_024)
def running(text: str) -> list[int]:
    """The counts of an inner node added up from the first on, not to be changed."""
    return list(accumulate(read_counts(text)))


def lines(text: str) -> int:
    """How many positions a leaf's text has."""
    return text.count("\n") + 1 if text else 0


def weight_of(document: Mapping[str, Any]) -> int:
    """About how many bytes a node's document has."""
    keys: str = document["keys"]
    return 100 + (len(keys) if keys.isascii() else len(keys.encode())) + len(document.get("children", "")) + len(document["sums"])
