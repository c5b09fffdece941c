"""Actions that are tried again until they succeed. The component itself is in `component`, behind the boundary."""

from interlock_action_retrier.client import ActionRetrier, RunId, RunInProgress, RunNotFound, RunResult, RunStatus

__all__ = ["ActionRetrier", "RunId", "RunInProgress", "RunNotFound", "RunResult", "RunStatus"]
