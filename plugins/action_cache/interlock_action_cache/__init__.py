"""Results of actions, kept for as long as they hold. The component itself is in `component`, behind the boundary."""

from interlock_action_cache.client import ActionCache, ActionFailed, Cached, Statistics

__all__ = ["ActionCache", "ActionFailed", "Cached", "Statistics"]
