"""What a component may not do is refused in words, which say what to use instead."""

from __future__ import annotations

import platform

import pytest

from interlock import App, PermissionDenied
from interlock.sandbox.confinement import available
from interlock.testing import TestBackend

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")

TABLES = "Keep data in tables"
FETCH = r"Use ctx\.fetch in an action"
ACTIONS = "Split long work into actions and scheduled functions"
LATER = r"ctx\.scheduler\.run_after"
ATTEMPTS = {
    "open('/etc/passwd')": TABLES,
    "open('x', 'w')": TABLES,
    "import os; os.listdir('/')": TABLES,
    "import os; os.stat('/etc')": TABLES,
    "import os; os.getcwd()": TABLES,
    "import os; os.readlink('/proc/self/exe')": TABLES,
    "import pathlib; pathlib.Path('/etc/passwd').exists()": TABLES,
    "import pathlib; pathlib.Path('/etc').iterdir().__next__()": TABLES,
    "import os; os.remove('/etc/passwd')": TABLES,
    "import socket; socket.socket()": FETCH,
    "import socket; socket.getaddrinfo('a.example', 80)": FETCH,
    "import asyncio; await asyncio.open_connection('a.example', 80)": FETCH,
    "import asyncio; await asyncio.get_running_loop().getaddrinfo('a.example', 80)": FETCH,
    "import asyncio; await asyncio.start_server(print, '127.0.0.1', 0)": FETCH,
    "import http.client; http.client.HTTPConnection('a.example').connect()": FETCH,
    "import subprocess; subprocess.run(['/bin/true'])": ACTIONS,
    "import os; os.system('true')": ACTIONS,
    "import os; os.fork()": ACTIONS,
    "import os; os.kill(1, 9)": ACTIONS,
    "import os; os.pipe()": ACTIONS,
    "import threading; threading.Thread(target=print).start()": ACTIONS,
    "import asyncio; await asyncio.to_thread(print)": ACTIONS,
    "import socket; socket.socketpair()": FETCH,
    "import socket; socket.gethostname()": "bound at the mount",
    "import tempfile; tempfile.TemporaryFile()": TABLES,
    "import tempfile; tempfile.mkdtemp()": TABLES,
    "import asyncio; await asyncio.create_subprocess_exec('/bin/true')": ACTIONS,
    "import asyncio; await asyncio.create_subprocess_shell('true')": ACTIONS,
    "import threading; threading.Event().wait(1)": LATER,
    "import queue; queue.Queue().get(timeout=1)": LATER,
    "import queue; queue.Queue().get()": LATER,
    "import queue; queue.SimpleQueue().get()": LATER,
    "import queue; queue.SimpleQueue().get(timeout=1)": LATER,
    "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()": LATER,
    "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire(timeout=1)": LATER,
    "import _thread; lock = _thread.allocate_lock(); lock.acquire(); lock.__enter__()": LATER,
    "import threading; threading.Semaphore(0).acquire()": LATER,
    "import select; select.select([], [], [], 1)": LATER,
    "import select; select.poll().poll(1000)": LATER,
    "import selectors; selectors.PollSelector().select(1)": LATER,
    "import selectors; selectors.SelectSelector().select(1)": LATER,
    "import asyncio; asyncio.get_running_loop().call_later(1, print)": LATER,
    "import asyncio; loop = asyncio.get_running_loop(); loop.call_at(loop.time() + 1, print)": LATER,
    "import time; time.sleep(1)": LATER,
    "import asyncio; await asyncio.sleep(1)": LATER,
}

IN_ACTIONS = {
    "import select; select.select([], [], [], 0.01)": "select.select .*await asyncio.sleep",
    "import selectors; selectors.SelectSelector().select(0.01)": "select.select .*await asyncio.sleep",
    "import selectors; selectors.EpollSelector()": "select.epoll .*await asyncio.sleep",
    "import asyncio; asyncio.SelectorEventLoop()": "select.epoll .*await asyncio.sleep",
}


async def test_each_says_what_to_use_instead(ledger_installed: None) -> None:
    made = App()
    made.use("ledger")
    async with TestBackend(made, isolation="sandbox") as backend:
        at = backend.component("ledger")
        for code, remedy in ATTEMPTS.items():
            with pytest.raises(PermissionDenied, match=remedy):
                await at.query("attempt", code=code)
                pytest.fail(f"{code} was done")
        for module, remedy in {"sqlite3": TABLES, "multiprocessing": ACTIONS, "ctypes": "packages that bring it"}.items():
            with pytest.raises(ModuleNotFoundError, match=remedy):
                await at.query("attempt", code=f"import {module}")
        assert await at.query("attempt", code="import platform; return platform.node() + platform.system()") == platform.system()
        assert await at.query("attempt", code="import os; return os.access('/etc/passwd', os.R_OK)") == "False"


async def test_what_waits_for_descriptors_is_refused_in_actions_with_what_to_use_instead(ledger_installed: None) -> None:
    made = App()
    made.use("ledger")
    async with TestBackend(made, isolation="sandbox") as backend:
        at = backend.component("ledger")
        for code, remedy in IN_ACTIONS.items():
            with pytest.raises(PermissionDenied, match=remedy):
                await at.action("attempt_in_action", code=code)
                pytest.fail(f"{code} was done")


async def test_a_process_that_is_not_confined_may_wait_for_descriptors(ledger_installed: None) -> None:
    made = App()
    made.use("ledger", isolation="process")
    async with TestBackend(made, isolation="process") as backend:
        for code in IN_ACTIONS:
            assert await backend.component("ledger").action("attempt_in_action", code=code) == "None"
