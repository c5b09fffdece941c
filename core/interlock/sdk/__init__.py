"""SDK: what authors write apps and components with. Pure declaration, and the contexts that functions are given.

An `App` or `Component` collects mounts, functions, triggers, crons and routes; `declarations` has their form as data.
A running function holds a context, and every context stands on a `Host`, which the runners implement. Knows no engine and
no server, imports nothing heavy, and is the same inside a sandbox.

Start at `functions.Function` and `contexts.QueryCtx`. `host` is the seam to the runners.
"""

from interlock.sdk.app import App
from interlock.sdk.auth import JWT, OIDC, Identity
from interlock.sdk.component import Component
from interlock.sdk.contexts import ActionCtx, MutationCtx, QueryCtx
from interlock.sdk.env import secret
from interlock.sdk.fetch import ResponseStream
from interlock.sdk.functions import Function, action, mutation, query
from interlock.sdk.host import FunctionInfo, Job, Metrics
from interlock.sdk.http import Request, Response
from interlock.sdk.pagination import Page, PaginationOptions
from interlock.sdk.ranges import Range
from interlock.sdk.references import ComponentReference, Reference, components, reference
from interlock.sdk.schema import Schema, Table
from interlock.sdk.texts import from_text, to_text
from interlock.sdk.triggers import Change, trigger
from interlock.sdk.validator import Validator

__all__ = [
    "JWT",
    "OIDC",
    "ActionCtx",
    "App",
    "Change",
    "Component",
    "ComponentReference",
    "Function",
    "FunctionInfo",
    "Identity",
    "Job",
    "Metrics",
    "MutationCtx",
    "Page",
    "PaginationOptions",
    "QueryCtx",
    "Range",
    "Reference",
    "Request",
    "Response",
    "ResponseStream",
    "Schema",
    "Table",
    "Validator",
    "action",
    "components",
    "from_text",
    "mutation",
    "query",
    "reference",
    "secret",
    "to_text",
    "trigger",
]
