"""A component whose tables and arguments are pydantic models, which are made when it is loaded."""

from pydantic import BaseModel

from interlock import Component, QueryCtx, Schema, Table


class Address(BaseModel):
    street: str
    city: str
    code: str | None = None


class Customer(BaseModel):
    name: str
    address: Address
    tags: list[str] = []


class Order(BaseModel):
    customer: Customer
    lines: list[dict[str, float]]
    paid: bool = False


modelled = Component("modelled", schema=Schema(customers=Table(Customer), orders=Table(Order)))


@modelled.query
async def nothing(ctx: QueryCtx, n: int, order: Order | None = None) -> None:
    """A call and its answer."""
