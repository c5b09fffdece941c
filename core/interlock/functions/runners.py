"""Which runner runs the functions of an instance, and the workers behind those that are isolated.

Workers outlive a reload where the component has not changed. Start at `Runners.runner_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from interlock.functions.inline import InlineRunner
from interlock.functions.runner import Runner
from interlock.functions.sandboxed import SandboxRunner
from interlock.mounting import Instance, Tree
from interlock.mounting.sealing import plan_of
from interlock.sandbox.pool import Pool


class Runners:
    """Those of one backend. `env` are the app's own variables, `key` makes the placeholders of secrets."""

    def __init__(self, env: Mapping[str, str], key: bytes) -> None:
        self._env, self._key = env, key
        self._inline = InlineRunner()
        self._pools: dict[str, Pool] = {}

    def runner_of(self, instance: Instance) -> Runner:
        """The runner of an instance; one that stands in a new tree takes over the workers of the one before."""
        if instance.source is None:
            return self._inline
        plan = plan_of(instance.isolation, instance.path or instance.name, instance.limits, instance.source)
        pool = self._pools.get(instance.path)
        if pool is None or (pool.source.key, pool.plan, pool.size) != (instance.source.key, plan, instance.workers):
            if pool is not None:
                pool.retire()
            pool = self._pools[instance.path] = Pool(instance.source, plan, instance.path, instance.workers)
        return SandboxRunner(instance, pool, self._inline, partial(instance.env_values, self._env, self._key))

    def pool(self, component_path: str) -> Pool | None:
        """The workers of one instance; None where it has none."""
        return self._pools.get(component_path)

    @property
    def has_workers(self) -> bool:
        """Whether any instance is isolated."""
        return bool(self._pools)

    @property
    def calls_open(self) -> int:
        """How many calls are open in workers."""
        return sum(pool.calls_open for pool in self._pools.values())

    def keep(self, tree: Tree) -> None:
        """Let go of the workers of what is no longer mounted."""
        for path in [path for path in self._pools if (found := tree.by_path.get(path)) is None or found.source is None]:
            self._pools.pop(path).retire()

    def close(self) -> None:
        """End all workers, and let go of the threads."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        self._inline.close()
