"""The files beside a component's modules, as `importlib.resources` goes through them: they lie in memory, as the modules do."""

from __future__ import annotations

import errno
import io
import os
import posixpath
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable, TraversableResources
from typing import Any


class Resources(TraversableResources):
    """Those of one package, whose folder is `folder` among `files`."""

    def __init__(self, files: Mapping[str, bytes], folder: str) -> None:
        self._root = Resource(files, folder)

    def files(self) -> Resource:
        return self._root


class Resource(Traversable):
    """A file or folder, or what is neither."""

    def __init__(self, files: Mapping[str, bytes], path: str) -> None:
        self._files, self._path = files, path

    def __repr__(self) -> str:
        return f"<Resource {self._path}>"

    @property
    def name(self) -> str:
        return posixpath.basename(self._path)

    def is_file(self) -> bool:
        return self._path in self._files

    def is_dir(self) -> bool:
        return any(self._below())

    def iterdir(self) -> Iterator[Resource]:
        names = dict.fromkeys(path.partition("/")[0] for path in self._below())
        if not names:
            raise self._missing(errno.ENOTDIR if self.is_file() else errno.ENOENT)
        return map(self.joinpath, names)

    def joinpath(self, *descendants: str | os.PathLike[str]) -> Resource:
        return Resource(self._files, posixpath.normpath(posixpath.join(self._path, *descendants)))

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if mode not in ("r", "rb"):
            raise ValueError(f"a resource can be read, with mode r or rb, and not {mode!r}")
        try:
            stream = io.BytesIO(self._files[self._path])
        except KeyError:
            raise self._missing(errno.EISDIR if self.is_dir() else errno.ENOENT) from None
        return stream if mode == "rb" else io.TextIOWrapper(stream, *args, **kwargs)

    def read_bytes(self) -> bytes:
        data: bytes = self.open("rb").read()
        return data

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        text: str = self.open(encoding=encoding, errors=errors).read()
        return text

    def _below(self) -> Iterator[str]:
        return (path[len(self._path) + 1 :] for path in self._files if path.startswith(f"{self._path}/"))

    def _missing(self, number: int) -> OSError:
        return OSError(number, os.strerror(number), self._path)
