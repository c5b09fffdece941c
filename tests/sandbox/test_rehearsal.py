"""What a worker does before anybody needs it leaves nothing that a component could see."""

from __future__ import annotations

import gc
import sys
import warnings

from interlock.sandbox.worker.rehearsal import load_for_nothing


def seen() -> tuple[object, ...]:
    return list(sys.modules), list(sys.meta_path), list(warnings.filters)


def test_nothing_is_left_of_a_component_that_was_loaded_for_nothing() -> None:
    load_for_nothing()  # whatever is made once is made
    gc.collect()
    before = seen()
    gc.disable()
    try:
        load_for_nothing()
        assert seen() == before
        assert gc.collect() == 0  # else a component would find it, or be shown another number by the worker that was not warm
    finally:
        gc.enable()
