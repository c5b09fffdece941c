"""Fake installed distributions: a folder for `sys.path` with a minimal `.dist-info`, and the modules that belong to it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path


def install(
    site: Path,
    name: str,
    version: str = "0.1.0",
    *,
    components: Mapping[str, str] | None = None,
    group: str = "interlock.components",
    requires: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
    record: str | None = "x.py,sha256=abc,3\n",
    editable: bool = False,
) -> Path:
    """Write what pip would leave behind. `components` are entry points, `files` sources by path below `site`."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {line}\n" for line in requires)
    )
    if components:
        (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in components.items()))
    if record is not None:
        (info / "RECORD").write_text(record)
    if editable:
        (info / "direct_url.json").write_text('{"url": "file:///somewhere", "dir_info": {"editable": true}}')
    write(site, files or {})
    return site


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Sources by relative path, dedented."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(textwrap.dedent(text))
    return root
