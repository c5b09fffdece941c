"""When the write-ahead log is copied: guessed in between, corrected by each copy."""

from __future__ import annotations

from interlock.storage.wal_gauge import WalGauge


def test_a_copy_is_due_when_the_guesses_add_up() -> None:
    gauge = WalGauge(100)
    gauge.grew(99)
    assert not gauge.is_due
    gauge.grew(1)
    assert gauge.is_due
    gauge.copied(100)
    assert not gauge.is_due


def test_guesses_that_were_too_high_make_copies_rarer() -> None:
    gauge = WalGauge(100)
    gauge.grew(200)
    gauge.copied(50)
    gauge.grew(399)
    assert not gauge.is_due
    gauge.grew(1)
    assert gauge.is_due


def test_a_log_that_did_not_start_over_counts_what_came_to_it() -> None:
    gauge = WalGauge(100)
    gauge.grew(100)
    gauge.copied(1000)
    gauge.grew(100)
    gauge.copied(1100)
    assert gauge.frames == 1100
    gauge.grew(99)
    assert not gauge.is_due
    gauge.grew(1)
    assert gauge.is_due
