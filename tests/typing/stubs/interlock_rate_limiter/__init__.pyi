from collections.abc import Mapping
from typing import Any

from interlock import AppError, ComponentReference, MutationCtx

MINUTE: float

class RateLimited(AppError):
    retry_after: float

class TokenBucket:
    def __init__(self, *, rate: float, period: float, shards: int = ...) -> None: ...

class RateLimiter:
    def __init__(self, component: ComponentReference, limits: Mapping[str, TokenBucket]) -> None: ...
    async def limit(self, ctx: MutationCtx, name: str, *, key: str | None = ..., throws: bool = ...) -> Any: ...
