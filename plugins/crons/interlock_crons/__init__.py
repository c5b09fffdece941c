"""Crons that a running app makes, changes and removes. The component itself is in `component`, behind the boundary."""

from interlock_crons.client import Cron, CronExists, CronInfo, CronNotFound, Crons, Every

__all__ = ["Cron", "CronExists", "CronInfo", "CronNotFound", "Crons", "Every"]
