"""A component that does nothing: what is left is the crossing."""

from interlock import Component, MutationCtx, QueryCtx

quiet = Component("quiet")


@quiet.query
async def nothing(ctx: QueryCtx, n: int) -> None:
    """A call and its answer."""


@quiet.mutation
async def no_op(ctx: MutationCtx) -> None:
    """The same in a layer of its own."""
