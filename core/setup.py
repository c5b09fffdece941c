"""The hot path compiled: `INTERLOCK_COMPILE=1 pip wheel --no-build-isolation ./core`, with mypy and a C compiler at hand.

Without the variable the wheel is pure Python, which is the same program and half as fast. What is compiled is listed here and
nowhere else; docs/decisions/0021 says what it gains, and what compiled code must not do.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext

COMPILED = {
    "engine": "budget catalog committer cursor document engine interval_index joint key_map live memory_table read_set transaction turns "
    "unpacked view write_log write_set",
    "functions": "action_host allowance begun call call_host caller calling deadlines dispatcher foreseen inline kept_answers meter "
    "observed reading replay running_mutation sandboxed scope served standing telling told transaction_host triggers",
    "sandbox": "account digests frames line long_values opened operations pool process versions",
    "sandbox/worker": "cache channel conversation cursor fetched host operation row running view",
    "sdk": "conversion query tally",
    "server": "binding decoding exchange fan_out front_wire function_path held http_api kept_results messages outcome outgoing "
    "refusals shared shared_query spare_task subscription sync_session turns",
    "storage": "batch commit log_body",
    "values": "checker ids keys normal pack wire",
}


COLD = """
#include <Python.h>
void CPy_AddTraceback(const char *, const char *, int, PyObject *) __attribute__((cold));
void CPy_TypeErrorTraceback(const char *, const char *, int, PyObject *, const char *, PyObject *) __attribute__((cold));
void CPy_AttributeError(const char *, const char *, const char *, const char *, int, PyObject *) __attribute__((cold));
void CPy_TypeError(const char *, PyObject *) __attribute__((cold));
static void CPy_DecRef(PyObject *) __attribute__((cold));
static void CPy_XDecRef(void *) __attribute__((cold));
"""
"""Read before each file: a quarter of the code only makes errors, and is put apart from the rest, so as not to be fetched with it."""


def modules() -> list[str]:
    """The files of the compiled modules."""
    return [f"interlock/{room}/{name}.py" for room, names in COMPILED.items() for name in names.split()]


class BuildSideBySide(build_ext):
    """Compiles as many files at once as there are processors."""

    def build_extensions(self) -> None:
        compile_all = self.compiler.compile
        with ThreadPoolExecutor(os.cpu_count()) as pool:

            def compile_each(sources: list[str], *args: Any, **kwargs: Any) -> list[str]:
                compiled = pool.map(lambda source: compile_all([source], *args, **kwargs), sources)
                return [name for names in compiled for name in names]

            self.compiler.compile = compile_each
            super().build_extensions()


if os.environ.get("INTERLOCK_COMPILE") == "1":
    from mypyc.build import mypycify

    # One library of all modules, whose functions call each other directly: it takes a third of the place in the processor's caches.
    extensions = mypycify(
        ["--config-file=", "--strict", *modules()], opt_level="2", debug_level="0", multi_file=True, group_name="interlock"
    )
    if os.name == "posix":
        header = Path("build", "cold.h").absolute()
        header.parent.mkdir(exist_ok=True)
        header.write_text(COLD)
        for extension in extensions:
            # They share one list of arguments.
            extension.extra_compile_args = [*extension.extra_compile_args, "-fvisibility=hidden", "-include", str(header)]
    setup(
        ext_modules=extensions,
        cmdclass={"build_ext": BuildSideBySide},
        options={"build_ext": {"parallel": os.cpu_count() or 1}},
    )
else:
    setup()
