"""The scheduler: calls that are planned for later, and rules that plan them.

Jobs and crons are rows of system tables in each instance, written through the transaction of whoever plans: so planning
rolls back like any other write. It alone promises how often a job runs: a mutation exactly once, an action at most once.

Start at `Scheduler._pump` (when), `RunningJob.run` (how often), `crons` and `schedule` (when again). Knows no HTTP, and
no instance but by its path, its crons and its functions' kinds.
"""

from interlock.scheduler.crons import check_crons
from interlock.scheduler.rows import system_tables
from interlock.scheduler.scheduler import LiveJob, Ran, Scheduler

__all__ = ["LiveJob", "Ran", "Scheduler", "check_crons", "system_tables"]
