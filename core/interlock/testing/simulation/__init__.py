"""Deterministic simulation: a whole backend and its clients on one seeded event loop, while everything goes wrong.

Simulated are time, the order of events, the disk, the network and the death of the process. Real are the engine, the scheduler,
subscriptions, the sync protocol and the app. What happens comes from a seed, so it can be seen again.

Start at `simulate`. `workload.py` is what an author writes, `faults.py` what goes wrong, `rules.py` what must hold whatever happens,
`run.py` the course of one simulation. Loop, disk, network, client and server are its world.
"""
