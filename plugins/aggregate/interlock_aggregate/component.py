"""Ordered items that can be counted, summed, ranked and found by rank, over any range of keys.

Every name and namespace has a tree of its own (`tree`); an item lies in it by the position of its key and id (`positions`).
A call opens the trees that it needs (`trees`), changes them, and saves what has changed. Here is what can be called.
"""

from __future__ import annotations

from interlock import Component
from interlock_aggregate import lifetime, queued, reading, upkeep, writing
from interlock_aggregate.tables import schema

component = Component("aggregate", schema=schema)

component.query(name="sum")(reading.sum_of)
for question in (
    reading.count,
    reading.count_batch,
    reading.aggregate_between,
    reading.aggregate_between_batch,
    reading.at_offset,
    reading.at_negative_offset,
    reading.at_offset_batch,
    reading.offset,
    reading.offset_until,
    reading.get,
    reading.end,
    reading.random,
    reading.paginate,
    reading.paginate_namespaces,
    queued.dead_letter_list,
    queued.dead_letter_get,
    upkeep.validate,
    upkeep.inspect,
    upkeep.get_task,
):
    component.query(question)

for write in (
    writing.insert,
    writing.insert_if_does_not_exist,
    writing.delete,
    writing.delete_if_exists,
    writing.replace,
    writing.replace_or_insert,
    writing.write_batch,
    queued.enqueue,
    queued.enqueue_batch,
    queued.dead_letter_delete,
    lifetime.init,
    lifetime.clear,
    lifetime.clear_all,
    lifetime.make_root_lazy,
    upkeep.check,
    upkeep.compare,
    upkeep.prune,
    upkeep.put_task,
):
    component.mutation(write)

component.query(internal=True)(queued.waiting)
for job in (queued.apply_queued, lifetime.drop_nodes):
    component.mutation(internal=True)(job)

component.cron("apply forgotten", every=3_600.0)(component.mutation(internal=True)(queued.apply_forgotten))
