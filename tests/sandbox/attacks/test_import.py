"""Attacks at the moment of mounting: payloads in a component's module, in its face, in its entry point, and manifests that lie."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import orjson
import pytest
from tests.mounting.distributions import install, write
from tests.sandbox.forked import SECONDS_MAX, forked

from interlock import App, MountError
from interlock.mounting import build_tree
from interlock.sandbox import manifests
from interlock.sandbox.confinement import available
from interlock.sandbox.plan import Plan
from interlock.sandbox.sources import Source, installed_files
from interlock.sdk.declarations import Isolation
from interlock.testing import TestBackend

pytestmark = pytest.mark.skipif(bool(available().missing), reason=f"not here: {available().missing}")
HONEST = """
from interlock import Component, QueryCtx
component = Component("hostile")
@component.query
async def here(ctx: QueryCtx) -> str:
    return "here"
"""


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


def put(site: Path, component: str, face: str = "", entry: str = "interlock_hostile.component:component") -> None:
    files = {"interlock_hostile/__init__.py": face, "interlock_hostile/component.py": component}
    install(site, "interlock-hostile", components={"hostile": entry}, files=files)


def payload(mark: Path) -> str:
    return f"open({str(mark)!r}, 'a').write('ran')\n"


def ran(mark: Path) -> bool:
    return mark.exists()


def import_face(site: Path) -> None:
    subprocess.run([sys.executable, "-c", "import interlock_hostile"], env={**os.environ, "PYTHONPATH": str(site)}, check=True)


async def mount(isolation: Isolation) -> None:
    """Mounts it, and asks it whether it is there."""
    app = App()
    app.use("hostile", isolation=isolation)
    async with TestBackend(app, isolation=isolation) as backend:
        assert await backend.component("hostile").query("here") == "here"


async def test_a_payload_in_the_module_fails_and_the_start_is_refused(site: Path, mark: Path) -> None:
    put(site, payload(mark) + HONEST)
    with pytest.raises(MountError, match="opening a file"):
        await mount("sandbox")
    assert not ran(mark)
    await mount("process")
    assert ran(mark)  # the canary


@pytest.mark.parametrize(
    "attempt",
    [
        "import subprocess; subprocess.run(['/bin/true'], check=True)",
        "import socket; socket.create_connection(('127.0.0.1', PORT)).close()",
        "import os; os.kill(os.getppid(), 0)",
        "import os; os.listdir('/')",
        "import threading; threading.Thread(target=lambda: None).start()",
    ],
)
async def test_an_import_may_do_no_more_than_a_function(site: Path, attempt: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        put(site, f"PORT = {server.getsockname()[1]}\n{attempt}\n{HONEST}")
        with pytest.raises(MountError, match="Not allowed"):
            await mount("sandbox")
        await mount("process")  # the canary


@pytest.mark.parametrize("how", ["exit", "spin", "hoard"])
async def test_an_import_that_does_not_come_to_an_end_is_refused(site: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    text = {
        "exit": "import os; os._exit(0)",
        "spin": "while True: pass",
        "hoard": "held = []\nwhile True: held.append(bytearray(1 << 23))",
    }[how]
    monkeypatch.setattr(manifests, "_SECONDS", 1.0)
    put(site, f"{text}\n{HONEST}")
    with pytest.raises(MountError, match=r"its process ended|took longer than 1 s|MemoryError"):
        await mount("sandbox")
    canary = imported_here(text, seconds=SECONDS_MAX if how == "exit" else 0.2)
    assert canary == {"exit": "exit code 0", "spin": "no end", "hoard": "no end"}[how]


def imported_here(text: str, seconds: float) -> str:
    """What would become of a process that imported it, within so many seconds: the canary."""

    def importing() -> str:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        exec(text, {})
        return "imported"

    outcome = forked(importing)
    assert outcome.value != "imported"
    return "no end" if outcome.signal == signal.SIGALRM else "exit code 0"


async def test_a_payload_in_the_face_does_not_run_by_mounting(site: Path, mark: Path) -> None:
    put(site, HONEST, face=payload(mark))
    await mount("sandbox")
    assert not ran(mark)
    import_face(site)
    assert ran(mark)  # the canary


def test_a_link_in_a_package_brings_nothing_of_what_it_leads_to(site: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.txt").write_text("the secret")
    install(site, "interlock-linked", files={"interlock_linked/component.py": HONEST, "interlock_linked/own.txt": "its own"})
    (site / "interlock_linked" / "key.txt").symlink_to(tmp_path / "secret" / "key.txt")
    (site / "interlock_linked" / "folder").symlink_to(tmp_path / "secret")
    assert (site / "interlock_linked" / "folder" / "key.txt").read_text() == "the secret"  # the canary
    files = installed_files("interlock_linked.component:component", (), where="here").files
    assert sorted(files) == ["interlock_linked/__init__.py", "interlock_linked/component.py", "interlock_linked/own.txt"]


@pytest.mark.canary("test_a_payload_in_the_face_does_not_run_by_mounting")
def test_a_payload_in_the_face_does_not_run_by_checking(site: Path, mark: Path, tmp_path: Path) -> None:
    put(site, HONEST, face=payload(mark))
    write(tmp_path / "shop", {"app.py": "from interlock import App\napp = App()\napp.use('hostile')\n"})
    environment = {**os.environ, "PYTHONPATH": str(site)}
    for command in (["check"], ["components"]):
        line = [sys.executable, "-m", "interlock.cli", *command, str(tmp_path / "shop")]
        answer = subprocess.run(line, env=environment, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert not ran(mark)


@pytest.mark.parametrize("entry", ["os:path", "sys:modules", "interlock_hostile.component:missing", "interlock_nowhere:component"])
async def test_an_entry_point_to_something_else_is_refused(site: Path, entry: str) -> None:
    put(site, HONEST, entry=entry)
    with pytest.raises(MountError):
        await mount("sandbox")
    if entry in ("os:path", "sys:modules"):  # the canary: a loader that takes what is there gets the machine's own
        assert EntryPoint("hostile", entry, "interlock.components").load() in (os.path, sys.modules)


FORGED = {
    "a permission that it then has": {"permissions": ["net:*"]},
    "nothing at all": {},
    "parts of another kind": {"functions": 5, "tables": "all"},
    "a name with a way out": {"name": "../../vault"},
    "bytes": {"name": b"hostile"},
    "a number without end": {"format": 1 << 70},
    "half a character": {"name": "\ud800"},
}


@pytest.mark.canary("test_a_manifest_made_by_hand_that_says_no_more_than_is_true_is_taken")
@pytest.mark.parametrize("name", FORGED)
async def test_a_manifest_made_by_hand_is_refused(site: Path, name: str) -> None:
    """The answer is written onto the channel while the component is imported, before the worker's own."""
    forged = f"""
import os
from interlock.sandbox.frames import encode
os.write(3, encode(["loaded", {FORGED[name]!r}, {{}}]))
"""
    put(site, forged + HONEST)
    with pytest.raises(MountError):
        await mount("sandbox")


async def test_a_manifest_made_by_hand_that_says_no_more_than_is_true_is_taken(site: Path) -> None:
    """The canary: this is the way by which a forged one would come."""
    put(site, HONEST)
    where = "interlock_hostile.component:component"
    told = manifests.manifest_bytes(installed_files(where, (), where="here"), Plan(), where="here", title="mounts it", version="")
    honest = orjson.loads(told)
    honest["functions"]["here"]["doc"] = "written by hand"
    forged = f"import os\nfrom interlock.sandbox.frames import encode\nos.write(3, encode(['loaded', {honest!r}, {{}}]))\n{HONEST}"
    (site / "interlock_hostile" / "component.py").write_text(forged)
    app = App()
    app.use("hostile")
    assert build_tree(app, env={}).get("hostile").manifest.functions["here"].doc == "written by hand"


FORGED_CODE = {
    "of a file that is not its own": {"interlock_vault/component.py": b""},
    "of a path that is none": {5: b""},
    "of half a character": {"\ud800": b""},
    "that is text": {"interlock_hostile/component.py": "text"},
    "that is too long": {"interlock_hostile/component.py": b"x" * 2_500_000},
}


@pytest.mark.canary("test_code_made_by_hand_runs_in_the_worker_of_the_files_that_made_it")
@pytest.mark.parametrize("name", FORGED_CODE)
def test_code_made_by_hand_is_held_for_no_other_file(site: Path, name: str) -> None:
    source = forging(site, repr(FORGED_CODE[name]))
    with pytest.raises(MountError):
        manifests.manifest_bytes(source, Plan(), where="here", title="mounts it", version="")
    assert source.code == {}


async def test_code_made_by_hand_runs_in_the_worker_of_the_files_that_made_it(site: Path) -> None:
    """The canary: what is told in this way is loaded."""
    text = HONEST.replace('return "here"', 'return "by hand"')
    code = f"compile({text!r}, 'interlock_hostile/component.py', 'exec')"
    forging(site, f"{{'interlock_hostile/component.py': __import__('marshal').dumps({code})}}")
    app = App()
    app.use("hostile", isolation="sandbox")
    async with TestBackend(app, isolation="sandbox") as backend:
        assert await backend.component("hostile").query("here") == "by hand"


def forging(site: Path, code: str) -> Source:
    """The source of a component that tells an honest manifest and this code before the worker says what is true."""
    put(site, HONEST)
    where = "interlock_hostile.component:component"
    told = manifests.manifest_bytes(installed_files(where, (), where="here"), Plan(), where="here", title="mounts it", version="")
    forged = f"""
import os
from interlock.sandbox.frames import encode
left = encode(["loaded", {orjson.loads(told)!r}, {code}])
while left:
    try:
        left = left[os.write(3, left) :]
    except BlockingIOError:
        pass
{HONEST}"""
    (site / "interlock_hostile" / "component.py").write_text(forged)
    return installed_files(where, (), where="here")


@pytest.mark.parametrize("lies", ["site", "elsewhere"])
def test_a_list_of_files_that_names_the_app_brings_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lies: str) -> None:
    """And where what it names lies with it, it is its own: the canary."""
    app = {"greedy_app/app.py": "KEY = 'secret'", "greedy_app/config.json": "{}", "greedy_one.py": "KEY = 'secret'"}
    write(tmp_path / lies, app)
    named = ("greedy_app/app.py", "greedy_one.py", "../outside/x.py", "/x.py", "interlock_greedy/component.py")
    record = "".join(f"{path},,\n" for path in named)
    files = {"interlock_greedy/__init__.py": "", "interlock_greedy/component.py": ""}
    install(tmp_path / "site", "interlock-greedy", files=files, record=record)
    for folder in ("elsewhere", "site"):
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    found = installed_files("interlock_greedy.component:component", ["interlock-greedy"], where="here").files
    assert set(found) == {*files, *(app if lies == "site" else ())}


def test_what_it_requires_adds_nothing_to_a_package_that_is_found_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "elsewhere", {"greedy_app/__init__.py": "", "greedy_app/config.json": "{}", "greedy_other/app.py": ""})
    files = {"greedy_app/evil.py": "", "greedy_help/__init__.py": ""}
    install(tmp_path / "site", "interlock-greedy", files=files, record="".join(f"{path},,\n" for path in files))
    for folder in ("site", "elsewhere"):
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    found = installed_files("greedy_app.evil:component", ["interlock-greedy"], where="here").files
    assert set(found) == {"greedy_app/__init__.py", "greedy_app/config.json", "greedy_help/__init__.py"}
    assert "greedy_app/evil.py" in installed_files("greedy_other.app:component", ["interlock-greedy"], where="here").files  # the canary
