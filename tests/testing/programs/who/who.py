from interlock import QueryCtx, query


@query
async def ami(ctx: QueryCtx) -> str | None:
    identity = await ctx.auth.identity()
    return None if identity is None else identity.subject
