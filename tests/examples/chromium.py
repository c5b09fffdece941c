"""A real Chromium without a window, driven over its debugging socket. Only what the tests of pages need.

Nothing here sleeps: `Tab.until` looks again whenever the page has changed, and gives up with what the page showed.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

PATIENCE_S = 30.0
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--remote-debugging-port=0",
    "--window-size=1280,900",
)
_LISTENING = "DevTools listening on "

# Looks at once, and then at each change of the page.
_UNTIL = """new Promise((resolve) => {
  const look = () => { const found = (() => %s)(); if (found) { watcher.disconnect(); resolve(found); } };
  const watcher = new MutationObserver(look);
  watcher.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
  look();
})"""


def program() -> str:
    """Where Chromium is. Without one the test is skipped, and fails where everything has to be tested."""
    found = next((path for path in map(shutil.which, _PROGRAMS) if path is not None), None)
    if found is None:
        missing = f"There is no {_PROGRAMS[0]} on this machine, so the page was not opened. Run: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(f"{missing} (CI is set, so this is not skipped.)", pytrace=False)
        pytest.skip(missing)
    return found


class PageError(AssertionError):
    """A script of the page raised."""


class Tab:
    """One page."""

    def __init__(self, browser: Chromium, session: str, url: str) -> None:
        self._browser, self._session, self.url = browser, session, url

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await self._browser.command(method, self._session, **parameters)

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is awaited."""
        answer = await self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description") or details["text"])
        return answer["result"].get("value")

    async def until(self, expression: str) -> Any:
        """The value of an expression, as soon as it is true."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self.evaluate(_UNTIL % expression)
        except TimeoutError:
            shown = await self.evaluate("document.body.innerText")
            said, picture = "\n".join(self._browser.said), await self._picture()
            raise AssertionError(f"{self.url} never had: {expression}\nIt shows ({picture}):\n{shown}\nIts console:\n{said}") from None

    async def press(self, selector: str) -> None:
        """Press a button as a mouse does: where it is seen."""
        found = json.dumps(selector)
        await self.until(f"document.querySelector({found})")
        x, y = await self.evaluate(
            f"(() => {{ const button = document.querySelector({found}); button.scrollIntoView({{ block: 'center', behavior: 'instant' }});"
            " const box = button.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def reload(self) -> None:
        """The page anew, as soon as it is loaded."""
        async with self._browser.loading(self._session):
            await self.command("Page.reload")

    async def write(self, selector: str, text: str) -> None:
        """Write into an empty field, as with a keyboard."""
        await self.press(selector)
        await self.command("Input.insertText", text=text)

    async def _picture(self) -> Path:
        """Beside the profile: what somebody would have seen."""
        file = self._browser.profile.with_name("page.png")
        answer = await self.command("Page.captureScreenshot", format="png")
        await asyncio.to_thread(file.write_bytes, base64.b64decode(answer["data"]))
        return file


class Chromium:
    """A browser with a fresh profile. `said` is what pages have written to their consoles, and what they raised."""

    def __init__(self, socket: ClientConnection, profile: Path) -> None:
        self.profile = profile
        self.said: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded: dict[str, asyncio.Event] = {}

    @classmethod
    @asynccontextmanager
    async def start(cls, profile: Path) -> AsyncIterator[Chromium]:
        """A browser that ends with the block."""
        process = await asyncio.create_subprocess_exec(
            program(), *_FLAGS, f"--user-data-dir={profile}", "about:blank", stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                address = await _address(process)
            async with connect(address, max_size=None, proxy=None) as socket:
                browser = cls(socket, profile)
                listening = asyncio.create_task(browser._listen())
                # Its pipe is read to the end: a browser whose complaints nobody takes would stand still.
                draining = asyncio.create_task(_drain(process))
                try:
                    yield browser
                finally:
                    # The answer may be lost in the end that was asked for.
                    with suppress(Exception):
                        async with asyncio.timeout(PATIENCE_S):
                            await browser.command("Browser.close")
                    with suppress(TimeoutError):
                        async with asyncio.timeout(PATIENCE_S):
                            await process.wait()
                    for task in (listening, draining):
                        task.cancel()
                    await asyncio.gather(listening, draining, return_exceptions=True)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def open(self, url: str) -> Tab:
        """A new tab, as soon as its page is loaded."""
        target = (await self.command("Target.createTarget", url="about:blank"))["targetId"]
        session: str = (await self.command("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        tab = Tab(self, session, url)
        await tab.command("Page.enable")
        await tab.command("Runtime.enable")
        async with self.loading(session):
            answer = await tab.command("Page.navigate", url=url)
            assert "errorText" not in answer, f"{url} was not opened: {answer['errorText']}"
        return tab

    @asynccontextmanager
    async def loading(self, session: str) -> AsyncIterator[None]:
        """Begins to load a page in the block; over when it is loaded."""
        loaded = self._loaded[session] = asyncio.Event()
        yield
        async with asyncio.timeout(PATIENCE_S):
            await loaded.wait()

    async def command(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        await self._socket.send(json.dumps(message))
        result: dict[str, Any] = await answer
        return result

    async def _listen(self) -> None:
        try:
            async for text in self._socket:
                self._take(json.loads(text))
        finally:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(ConnectionError("Chromium has ended."))

    def _take(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case None:
                answer = self._answers.pop(message["id"])
                if answer.done():
                    return  # nobody waits any more
                if "error" in message:
                    answer.set_exception(AssertionError(f"Chromium refused: {message['error']['message']}"))
                else:
                    answer.set_result(message["result"])
            case "Page.loadEventFired":
                self._loaded[message["sessionId"]].set()
            case "Runtime.consoleAPICalled":
                self.said.append(" ".join(str(part.get("value", part.get("description", ""))) for part in parameters["args"]))
            case "Runtime.exceptionThrown":
                details = parameters["exceptionDetails"]
                self.said.append(details.get("exception", {}).get("description") or details["text"])


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    lines = []
    async for line in process.stderr:
        lines.append(line.decode(errors="replace"))
        if lines[-1].startswith(_LISTENING):
            return lines[-1].removeprefix(_LISTENING).strip()
    raise AssertionError(f"Chromium did not start:\n{''.join(lines)}")


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    while await process.stderr.read(65_536):
        pass
