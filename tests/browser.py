"""A real headless Chromium, driven over a pipe: no driver program, no port, no library.

Speaks the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/) as JSON with a
NUL after each message, which `--remote-debugging-pipe` reads from descriptor 3 and writes to 4.
"""

from __future__ import annotations

import base64
import fcntl
import importlib.util
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # it cannot be had as root, and the pages are ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
PATIENCE = 20.0
"""Seconds that a command may take."""


PROBLEMS = """
axe.run(document, {resultTypes: ["violations"]}).then((found) => found.violations.flatMap(
  (rule) => rule.nodes.map((node) => `${rule.id}: ${node.target} ${node.failureSummary}`)))
"""
"""What axe-core finds fault with (WCAG 2 A and AA, best practices), once its source was run."""


class BrowserError(Exception):
    """Chromium is missing, has died, refuses a command, or does not answer."""


class Browser:
    """A Chromium with a profile of its own, which it loses at `close`."""

    def __init__(self, folder: Path) -> None:
        """Start it; `folder` is empty and holds the profile, pages and downloads.

        Raises:
            BrowserError: it is not installed.
        """
        self.folder = folder
        self.events: list[Mapping[str, Any]] = []
        self._last = 0
        self._buffer = b""
        self._start([_program(), *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"])
        self.downloads = folder / "downloads"
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def _start(self, command: Sequence[str]) -> None:
        # Ends above 4, since 3 and 4 are overwritten in the child one after the other.
        pairs = [_high(os.pipe()), _high(os.pipe())]
        (read_there, self._out), (self._in, write_there) = pairs
        self._pid = os.posix_spawn(
            command[0],
            list(command),
            {**os.environ, "HOME": str(self.folder)},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, read_there, 3),
                (os.POSIX_SPAWN_DUP2, write_there, 4),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setpgroup=0,
        )
        os.close(read_there)
        os.close(write_there)

    def send(self, method: str, session: str | None = None, /, **parameters: Any) -> dict[str, Any]:
        """Run a command and wait for its result.  Events that arrive meanwhile are kept.

        Raises:
            BrowserError: it was refused, or took longer than `PATIENCE`.
        """
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        self._write(json.dumps(message).encode() + b"\0")
        reply = self._until(lambda found: found.get("id") == self._last)
        if "error" in reply:
            raise BrowserError(f"{method}: {reply['error']}")
        result: dict[str, Any] = reply["result"]
        return result

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._out, data) :]

    def wait(self, method: str, session: str) -> Mapping[str, Any]:
        """The next event of this name in this session, waited for."""
        return self._until(
            lambda found: found.get("method") == method and found.get("sessionId") == session
        )

    def _until(self, wanted: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while True:
            message = self._read(end)
            if "method" in message:
                self.events.append(message)
            if wanted(message):
                return message

    def _read(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            data = os.read(self._in, 1 << 16) if ready else b""
            if not data:
                raise BrowserError("Chromium has died" if ready else "Chromium does not answer")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def open(
        self,
        html: str,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        script: bool = True,
    ) -> Page:
        """A new window of these CSS pixels with the page in it, loaded from a file."""
        page = Page(self, width, height, dark=dark, script=script)
        page.show(html)
        return page

    def close(self) -> None:
        """End it and its children."""
        os.close(self._out)
        os.close(self._in)
        os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


class Page:
    """One window, with whatever went wrong in it."""

    def __init__(
        self, browser: Browser, width: int, height: int, *, dark: bool, script: bool
    ) -> None:
        context = browser.send("Target.createBrowserContext")["browserContextId"]
        target = browser.send("Target.createTarget", url="about:blank", browserContextId=context)
        attached = browser.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.browser = browser
        self.downloads = browser.folder / f"downloads-{context}"
        self._session: str = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send(
            "Browser.setDownloadBehavior",
            behavior="allow",
            browserContextId=context,
            downloadPath=str(self.downloads),
        )
        self._dark = dark
        self.resize(width, height)
        self.send("Emulation.setScriptExecutionDisabled", value=not script)

    def send(self, method: str, /, **parameters: Any) -> dict[str, Any]:
        """Run a command in this window."""
        return self.browser.send(method, self._session, **parameters)

    def resize(self, width: int, height: int = 900) -> None:
        """Give the window this size in CSS pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def media(self, *, printed: bool = False) -> None:
        """Emulate paper, or a screen."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if self._dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.send(
            "Emulation.setEmulatedMedia",
            media="print" if printed else "",
            features=[scheme, still],
        )

    def show(self, html: str) -> None:
        """Load a page from a file, as if nothing had been there before.

        This is faster than to open a window, which loads its fonts again.
        """
        path = self.browser.folder / f"{self._session}.html"
        if path.exists():
            self.evaluate("localStorage.clear()")
        path.write_text(html, "utf-8")
        self.media()
        self.browser.events.clear()
        self.visit(path.as_uri())

    def visit(self, address: str) -> None:
        """Go there and wait until it is loaded."""
        self.send("Page.navigate", url=address)
        self.browser.wait("Page.loadEventFired", self._session)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited; it has to be JSON.

        Raises:
            BrowserError: it throws.
        """
        found = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise BrowserError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys by their names in `KeyboardEvent.key`, such as "j", "Tab" or "Enter"."""
        for key in keys:
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            code = {"Enter": 13, "Tab": 9, "Escape": 27, " ": 32}.get(key, 0)
            common = {"key": key, "windowsVirtualKeyCode": code or ord(key[0].upper())}
            kind = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
            self.send("Input.dispatchKeyEvent", **kind, **common)
            self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Type into whatever has the focus."""
        self.send("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click the middle of the first such element with the mouse."""
        place = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            "return {x: r.x + r.width / 2, y: r.y + r.height / 2}; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as PNG."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self) -> bytes:
        """The page on paper (A4)."""
        made = self.send("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)
        return base64.b64decode(made["data"])

    def download(self, name: str) -> bytes:
        """A file that the page has handed over, waited for, and taken away."""
        # It has another name while it is written.
        path, end = self.downloads / name, time.monotonic() + PATIENCE
        while not path.exists():
            if time.monotonic() > end:
                raise BrowserError(f"{name} was not downloaded")
            time.sleep(0.02)
        data = path.read_bytes()
        path.unlink()
        return data

    @property
    def complaints(self) -> list[str]:
        """Everything that was logged or thrown, breaches of the content policy included."""
        self.evaluate("1")  # so that what is on its way has arrived
        return [
            json.dumps(event["params"], ensure_ascii=False)
            for event in self._events()
            if event["method"]
            in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        ]

    @property
    def requests(self) -> list[str]:
        """The addresses that were asked for; not those that the content policy kept back."""
        self.evaluate("1")
        events = self._events()
        kept = {
            event["params"]["requestId"]
            for event in events
            if event["params"].get("blockedReason") == "csp"
        }
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
            and event["params"]["requestId"] not in kept
        ]

    def _events(self) -> list[Mapping[str, Any]]:
        return [event for event in self.browser.events if event.get("sessionId") == self._session]


def axe() -> str:
    """The source of axe-core, which a package carries whose browser is not needed."""
    found = importlib.util.find_spec("axe_playwright_python")
    assert found is not None
    assert found.submodule_search_locations
    return (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text("utf-8")


def _program() -> str:
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    raise BrowserError("Chromium is not installed; on Debian: apt-get install chromium")


def _high(pair: tuple[int, int]) -> tuple[int, int]:
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in pair)
    for end in pair:
        os.close(end)
    return high[0], high[1]
