"""Migrations of a table in batches. The component itself is in `component`, behind the boundary."""

from interlock_migrations.client import RESUME, MigrationFailed, Migrations, MigrationStatus

__all__ = ["RESUME", "MigrationFailed", "MigrationStatus", "Migrations"]
