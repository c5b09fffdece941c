# The faces of components that are distributions of their own, as far as the contract's examples use them.
from collections.abc import Callable
from typing import Any

from interlock import Change, ComponentReference, MutationCtx

class TableAggregate:
    def __init__(
        self,
        component: ComponentReference,
        table: str,
        *,
        namespace: Callable[[dict[str, Any]], Any] = ...,
        sort_key: Callable[[dict[str, Any]], Any],
        sum_value: Callable[[dict[str, Any]], float] = ...,
    ) -> None: ...
    async def on_change(self, ctx: MutationCtx, change: Change) -> None: ...
