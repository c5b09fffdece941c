"""Components with native code of their own: what the grant gives, who gets it, and what it still forbids."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from tests.mounting.distributions import install
from tests.sandbox.attacks import bombs
from tests.sandbox.attacks.attack import LOOT
from tests.sandbox.attacks.test_confined import ATTACKS, launch, neighbour, outcome, prey, zygote  # noqa: F401  # fixtures

from interlock import App, MountError
from interlock.cli.facts import mounts
from interlock.sandbox.confinement import available
from interlock.sandbox.native import places_of, readable_for
from interlock.sandbox.plan import Plan
from interlock.sandbox.zygote import Zygote
from interlock.sdk.declarations import Isolation
from interlock.testing import TestBackend

pytestmark = pytest.mark.skipif(bool(available().missing) or not available().landlock, reason="reading files needs seccomp and Landlock")

SOURCE = """
import os
from typing import Any

from interlock import Component, QueryCtx

component = Component("parser", permissions=PERMISSIONS)


@component.query
async def host(ctx: QueryCtx, url: str) -> str:
    import httptools

    return httptools.parse_url(url.encode()).host.decode()


@component.query
async def read(ctx: QueryCtx, path: str) -> int:
    with open(path, "rb") as file:
        return len(file.read())
"""
AT_THE_TOP = "import httptools\n" + SOURCE


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


def app(site: Path, source: str, *, asked: list[str], allowed: list[str], isolation: Isolation = "sandbox") -> TestBackend:
    files = {"native_parser/component.py": source.replace("PERMISSIONS", repr(asked))}
    install(site, "native-parser", components={"parser": "native_parser.component:component"}, requires=["httptools"], files=files)
    made = App()
    made.use("parser", allow=allowed)
    return TestBackend(made, isolation=isolation)


@pytest.mark.parametrize("isolation", ["sandbox", "process"])
@pytest.mark.parametrize("source", [SOURCE, AT_THE_TOP], ids=["in a function", "at the top"])
async def test_native_code_loads_where_it_is_asked_for_and_allowed(site: Path, source: str, isolation: Isolation) -> None:
    async with app(site, source, asked=["native"], allowed=["native"], isolation=isolation) as backend:
        assert await backend.component("parser").query("host", url="http://a.example/x") == "a.example"
        told = mounts(await backend.opened())[1]
        assert told["native"] and told["permissions"] == {"asked": ["native"], "allowed": ["native"]}
        if isolation == "sandbox":
            [worker] = (await backend.opened()).dispatcher.runners.pool("parser")._processes  # type: ignore[union-attr]
            assert worker.layers["seccomp"] == "reads files" and set(told["layers"]) <= set(worker.layers)


async def test_asked_for_and_not_allowed_is_refused_at_start(site: Path) -> None:
    with pytest.raises(MountError, match=r'asks for "native", and that is not allowed') as refusal:
        await app(site, SOURCE, asked=["native"], allowed=[]).opened()
    assert 'allow=["native"]' in refusal.value.remedy


@pytest.mark.parametrize(("asked", "allowed"), [(["native"], []), ([], ["native"]), ([], [])])
async def test_an_import_that_needs_it_is_refused_with_what_would_allow_it(site: Path, asked: list[str], allowed: list[str]) -> None:
    with pytest.raises(MountError, match="httptools") as refusal:
        await app(site, AT_THE_TOP, asked=asked, allowed=allowed).opened()
    assert "It needs httptools, which is native code" in refusal.value.remedy and 'permissions=["native"]' in refusal.value.remedy


async def test_allowed_in_vain_it_stays_sealed(site: Path) -> None:
    async with app(site, SOURCE, asked=[], allowed=["native"]) as backend:
        opened = await backend.opened()
        assert not mounts(opened)[1]["native"]
        with pytest.raises(ImportError):
            await backend.component("parser").query("host", url="http://a.example/x")
        [worker] = opened.dispatcher.runners.pool("parser")._processes  # type: ignore[union-attr]
        assert worker.layers["seccomp"] == "sealed"


async def test_it_reads_its_packages_and_nothing_beside_them(site: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("not for it")
    package = Path(places_of(metadata.distribution("httptools"))["httptools"])
    async with app(site, SOURCE, asked=["native"], allowed=["native"]) as backend:
        parser = backend.component("parser")
        assert await parser.query("read", path=str(package / "__init__.py")) > 0
        for path in (tmp_path / "secret", Path("/etc/passwd"), Path("/proc/self/environ"), package.parent / "orjson" / "__init__.py"):
            with pytest.raises(PermissionError):
                await parser.query("read", path=str(path))


KNOWN = {
    "duplicate_the_channel",  # onto itself
    "learn_the_name_of_the_machine",  # libraries look at the version of the kernel
    "load_a_native_library",  # one that every worker has
    "start_a_thread",  # of its own process, within its memory
}
"""What of the attacks on sealed workers goes through, without a way to anything that is not its own."""
LOOKS = {"look_with_access", "look_with_statx", "look_whether_it_is_there"}
"""Whether a file is there, and how large it is: Landlock has no rule for that. A worker that left root is kept from most by its user."""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of the calls are those of x86-64")
def test_attacks_on_sealed_workers_do_not_win_with_the_grant_either(zygote: Zygote, prey: dict[str, Any]) -> None:  # noqa: F811
    files = readable_for(places_of(metadata.distribution("httptools")))
    won = set()
    before = Path(prey["scratch"], "victim").read_text()
    for module, name in [parameters.values for parameters in ATTACKS if parameters.values[0] is not bombs]:
        attack = getattr(module, name)
        worker = launch(zygote, Plan(**{**attack.plan, "files": files}), module, name, prey)
        ended = outcome(worker)
        worker.close()
        if LOOT in ended:
            won.add(name)
        assert Path(prey["scratch"], "victim").read_text() == before, name
        assert [path.name for path in Path(prey["scratch"]).iterdir()] == ["victim"], name
    assert won - LOOKS == KNOWN
