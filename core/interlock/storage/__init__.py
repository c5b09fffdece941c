"""Storage: where commits are kept. `protocol.py` is what the engine asks for; each other file is one way to keep it.

Start at `Storage` in protocol.py. Knows table numbers, index numbers, key bytes and packed documents; knows no
transaction, no schema, no component.
"""

from interlock.storage.protocol import Storage
from interlock.storage.urls import open_storage

__all__ = ["Storage", "open_storage"]
