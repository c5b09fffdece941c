"""Durable functions that survive restarts. The component itself is in `component`, behind the boundary."""

from interlock_workflow.client import EventId, StepInfo, WorkflowId, WorkflowManager, WorkflowStatus
from interlock_workflow.errors import (
    ChangedPast,
    EventAlreadySent,
    NotAStep,
    StepCanceled,
    StepFailed,
    StepTimeout,
    UnknownStep,
    WorkflowEnded,
    WorkflowNotFound,
    WorkflowRunning,
)
from interlock_workflow.step import Event, StepCall, WorkflowStep
from interlock_workpool import DAY, HOUR, MINUTE, SECOND, WEEK, NonRetryable, Retry

__all__ = [
    "DAY",
    "HOUR",
    "MINUTE",
    "SECOND",
    "WEEK",
    "ChangedPast",
    "Event",
    "EventAlreadySent",
    "EventId",
    "NonRetryable",
    "NotAStep",
    "Retry",
    "StepCall",
    "StepCanceled",
    "StepFailed",
    "StepInfo",
    "StepTimeout",
    "UnknownStep",
    "WorkflowEnded",
    "WorkflowId",
    "WorkflowManager",
    "WorkflowNotFound",
    "WorkflowRunning",
    "WorkflowStatus",
    "WorkflowStep",
]
