"""The heap of the C library: what was needed to load a component is given back."""

from __future__ import annotations

import ctypes
import sys


def trim() -> None:
    """Give pages that nothing lies on back to the system, where the C library has a way to."""
    if _trim is not None:
        _trim(_LEFT)


_LEFT = 1 << 16
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
if _trim is not None:
    _trim.argtypes = [ctypes.c_size_t]
