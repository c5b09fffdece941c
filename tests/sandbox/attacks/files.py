"""Attacks on files: reading, looking, writing, and code that lies in them; by Python, and past it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.sandbox.attacks.attack import LOOT, attack, buffer, call, native

AT_FDCWD = -100


def won(content: Any) -> str | None:
    text = content.decode(errors="replace") if isinstance(content, bytes) else str(content)
    return LOOT if "the secret" in text else None


@attack()
def read_with_open(prey: Any) -> Any:
    return won(open(prey["secret"]).read())  # noqa: PTH123


@attack()
def read_with_os_open(prey: Any) -> Any:
    return won(os.read(os.open(prey["secret"], os.O_RDONLY), 100))


@attack()
def read_with_pathlib(prey: Any) -> Any:
    return won(Path(prey["secret"]).read_bytes())


@attack()
def read_with_file_io(prey: Any) -> Any:
    import _io

    return won(_io.FileIO(prey["secret"]).readall())


@attack()
def read_with_open_code(prey: Any) -> Any:
    import io

    return won(io.open_code(prey["secret"]).read())


@attack()
def read_with_the_c_library(prey: Any) -> Any:
    library = native()
    fd = library.open(prey["secret"].encode(), os.O_RDONLY)
    if fd < 0:
        raise PermissionError("open gave -1")
    return won(os.read(fd, 100))


@attack("EPERM|Operation not permitted")
def read_with_a_system_call(prey: Any) -> Any:
    return won(os.read(call(257, AT_FDCWD, buffer(prey["secret"].encode()), os.O_RDONLY), 100))


@attack("Function not implemented")
def read_with_openat2(prey: Any) -> Any:
    return won(os.read(call(437, AT_FDCWD, buffer(prey["secret"].encode()), buffer(24), 24), 100))


@attack()
def read_after_disarming_the_refusals(prey: Any) -> Any:
    import gc

    for found in gc.get_objects(generation=None):
        if type(found).__name__ == "Refusals":
            found._armed = {}
    from_frozen = [kind for kind in object.__subclasses__() if kind.__name__ == "Refusals"]
    for kind in from_frozen:
        kind._look = lambda *arguments: None
    return won(os.read(call(257, AT_FDCWD, buffer(prey["secret"].encode()), os.O_RDONLY), 100))


@attack()
def read_by_the_class_tree(prey: Any) -> Any:
    for kind in object.__subclasses__():
        if kind.__name__ == "_wrap_close":
            return won(kind.__init__.__globals__["open"](prey["secret"], os.O_RDONLY) and Path(prey["secret"]).read_text())
    return None


@attack("^returned: None|PermissionError|RefusedInSandbox")
def read_with_linecache(prey: Any) -> Any:
    import linecache

    return won(linecache.getline(prey["secret"], 1))


@attack()
def copy_with_shutil(prey: Any) -> Any:
    import shutil

    shutil.copyfile(prey["secret"], prey["scratch"] + "/copy")
    return won(Path(prey["scratch"] + "/copy").read_text())


@attack()
def look_whether_it_is_there(prey: Any) -> Any:
    return LOOT if os.stat(prey["secret"]).st_size else None  # noqa: PTH116


@attack("^returned: None")
def look_with_access(prey: Any) -> Any:
    return LOOT if os.access(prey["secret"], os.F_OK) else None


@attack("Operation not permitted")
def look_with_statx(prey: Any) -> Any:
    return LOOT if call(332, AT_FDCWD, buffer(prey["secret"].encode()), 0, 0x7FF, buffer(256)) == 0 else None


@attack()
def list_a_directory(prey: Any) -> Any:
    return LOOT if "secret" in os.listdir(prey["directory"]) else None  # noqa: PTH208


@attack()
def list_with_scandir(prey: Any) -> Any:
    return LOOT if any(entry.name == "secret" for entry in os.scandir(prey["directory"])) else None


@attack()
def follow_a_link_of_proc(prey: Any) -> Any:
    return LOOT if os.readlink("/proc/self/exe") else None  # noqa: PTH115


@attack()
def write_over_a_file(prey: Any) -> Any:
    Path(prey["scratch"] + "/victim").write_text("overwritten")
    return LOOT


@attack()
def make_a_file(prey: Any) -> Any:
    os.close(os.open(prey["scratch"] + "/new", os.O_CREAT | os.O_WRONLY))
    return LOOT


@attack("FileNotFoundError|PermissionError|RefusedInSandbox")
def make_a_temporary_file(prey: Any) -> Any:
    import tempfile

    with tempfile.TemporaryFile(dir=prey["scratch"]) as file:
        return LOOT if file.write(b"x") else None


@attack()
def remove_a_file(prey: Any) -> Any:
    Path(prey["scratch"] + "/victim").unlink()
    return LOOT


@attack()
def rename_a_file(prey: Any) -> Any:
    Path(prey["scratch"] + "/victim").rename(prey["scratch"] + "/mine")
    return LOOT


@attack()
def cut_a_file(prey: Any) -> Any:
    os.truncate(prey["scratch"] + "/victim", 0)
    return LOOT


@attack()
def open_up_a_file(prey: Any) -> Any:
    Path(prey["scratch"] + "/victim").chmod(0o777)
    return LOOT


@attack()
def date_a_file_back(prey: Any) -> Any:
    os.utime(prey["scratch"] + "/victim", (0, 0))
    return LOOT


@attack()
def link_to_a_file(prey: Any) -> Any:
    os.link(prey["secret"], prey["scratch"] + "/hard")
    return LOOT


@attack()
def link_softly(prey: Any) -> Any:
    Path(prey["scratch"] + "/soft").symlink_to(prey["secret"])
    return LOOT


@attack()
def make_a_directory(prey: Any) -> Any:
    Path(prey["scratch"] + "/directory").mkdir()
    return LOOT


@attack()
def make_a_device_of_a_pipe(prey: Any) -> Any:
    os.mkfifo(prey["scratch"] + "/pipe")
    return LOOT


@attack("ModuleNotFoundError")
def import_from_a_directory(prey: Any) -> Any:
    import sys

    sys.path.append(prey["directory"])
    import planted  # type: ignore[import-not-found]

    return planted.LOOT


@attack()
def load_code_from_a_file(prey: Any) -> Any:
    from importlib.machinery import SourceFileLoader

    return LOOT if SourceFileLoader("planted", prey["directory"] + "/planted.py").get_code("planted") else None


@attack("OSError|PermissionError|RefusedInSandbox|ImportError")
def load_a_native_library(prey: Any) -> Any:
    library = type(native())(prey["library"])
    return LOOT if library._handle else None


@attack()
def read_the_list_of_open_files(prey: Any) -> Any:
    return LOOT if os.listdir("/proc/self/fd") else None  # noqa: PTH208


@attack("Operation not permitted")
def watch_a_directory(prey: Any) -> Any:
    return LOOT if call(294, 0) >= 0 else None  # inotify_init1


@attack("Operation not permitted")
def hold_a_file_without_a_name(prey: Any) -> Any:
    return LOOT if call(319, buffer(b"x"), 0) >= 0 else None  # memfd_create


@attack("Operation not permitted")
def learn_where_it_runs(prey: Any) -> Any:
    return LOOT if call(79, buffer(4096), 4096) > 0 else None  # getcwd


@attack()
def change_the_directory(prey: Any) -> Any:
    os.chdir(prey["directory"])
    return LOOT


@attack("Operation not permitted", depends_on_machine=True)  # file systems of layers know no handles
def make_a_handle_of_a_file(prey: Any) -> Any:
    handle = buffer((8).to_bytes(4, "little") + bytes(140))
    return LOOT if call(303, AT_FDCWD, buffer(prey["secret"].encode()), handle, buffer(4), 0) == 0 else None  # name_to_handle_at
