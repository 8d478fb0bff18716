"""A headless Chromium for tests, spoken to through a pipe: the DevTools protocol needs no package and no port."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Escape": 27, "Enter": 13, "Tab": 9}
AS_3_AND_4 = """
import fcntl, os, sys
for number, copy in enumerate([fcntl.fcntl(int(name), fcntl.F_DUPFD_CLOEXEC, 10) for name in sys.argv[1:3]], 3):
    os.dup2(copy, number)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Starts a browser, which reads commands from descriptor 3 and writes answers to descriptor 4."""


def find_browser() -> str | None:
    """The program of a Chromium; I2I_BROWSER names one that is not in the PATH."""
    return os.environ.get("I2I_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in a browser.

    Attributes:
        problems: what the console was told of errors and warnings, exceptions, and requests that were made or refused.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers, self._number = commands, answers, 0
        self._received, self._events = b"", list[dict[str, Any]]()
        self._context, self._session, self._origin = "", "", "file:"
        self.problems = list[str]()

    def call(self, method: str, **parameters: Any) -> Any:
        """Calls a method of the protocol for the page."""
        return self._call(method, session=self._session, **parameters)

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            command["sessionId"] = session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (answer := self._read()).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            part = os.read(self._answers, 1 << 20)
            if not part:
                raise RuntimeError("the browser has ended")
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        name, about = event.get("method"), event.get("params", {})
        if name == "Runtime.exceptionThrown":
            self.problems.append(str(about["exceptionDetails"]))
        elif name == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            self.problems.append(str(about["args"]))
        elif name == "Log.entryAdded":
            self.problems.append(about["entry"]["text"])
        elif name == "Network.requestWillBeSent" and not about["request"]["url"].startswith(("data:", self._origin)):
            self.problems.append(f"asked for {about['request']['url']}")

    def open(self, page: Path | str, width: int, height: int, *, dark: bool = False, touch: bool = False) -> None:
        """Opens a page and waits until it is loaded; nothing that earlier pages have kept is there.

        Args:
            page: a file, or the address of a server, which alone may be asked for more.
            width: of the window.
            height: of the window.
            dark: whether the system is.
            touch: whether the screen is touched.
        """
        if self._context:
            self._call("Target.disposeBrowserContext", browserContextId=self._context)
        self._context = self._call("Target.createBrowserContext")["browserContextId"]
        target = self._call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self._origin = page if isinstance(page, str) else "file:"
        self._loaded("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())

    def reload(self) -> None:
        """Loads the page again."""
        self._loaded("Page.reload")

    def _loaded(self, method: str, **parameters: Any) -> None:
        self._events.clear()
        self.call(method, **parameters)
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._note(self._read())

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        """Waits until a JavaScript expression is true, for a minute at most."""
        end = time.monotonic() + 60
        while not self.ask(expression):
            if time.monotonic() > end:
                raise TimeoutError(expression)
            time.sleep(0.01)

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element in the window, once it is scrolled into view."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.ask(f"{element}.scrollIntoView({{block: 'nearest'}})")
        self._settle()  # what comes into view may take another size
        self.ask(f"{element}.scrollIntoView({{block: 'nearest'}})")
        box = f"{element}.getBoundingClientRect()"
        found = self.ask(f"[{box}.left, {box}.top, {box}.width, {box}.height]")
        left, top, width, height = found
        return left, top, width, height

    def drag(self, selector: str, *shares: float) -> None:
        """Presses the mouse on an element, at the first share of its width, moves to the others, and lets go."""
        left, top, width, height = self.box(selector)
        kinds = ["mousePressed", *["mouseMoved"] * (len(shares) - 1), "mouseReleased"]
        for kind, share in zip(kinds, [*shares, shares[-1]], strict=True):
            x, y = left + share * width, top + height / 2
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
        self._settle()

    def click(self, selector: str) -> None:
        """Clicks on the middle of an element."""
        self.drag(selector, 0.5)

    def press(self, key: str) -> None:
        """Presses a key."""
        code = KEYS.get(key, ord(key[0].upper()))
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)
        self._settle()

    def _settle(self) -> None:
        """Waits for the next frame: what was put in is answered before it."""
        self.ask("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")

    def send_file(self, selector: str, path: Path) -> None:
        """Chooses a file in an input, as its dialogue would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def choose(self, selector: str, value: str) -> None:
        """Chooses an option of a select, as its list would: headless, no list is drawn."""
        self.ask(
            f"(() => {{ const select = document.querySelector({json.dumps(selector)});"
            f"select.value = {json.dumps(value)}; select.dispatchEvent(new Event('change', {{bubbles: true}})); }})()"
        )

    def shoot(self, target: Path, *, whole: bool = False) -> None:
        """Writes a PNG of the window, or of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        target.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browsing(program: str) -> Iterator[Browser]:
    """A browser, which ends with the context."""
    with tempfile.TemporaryDirectory() as profile:
        theirs, commands = os.pipe()
        answers, ours = os.pipe()
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        arguments += [f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        arguments += [
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
        ]  # a camera, and leave to use it
        process = subprocess.Popen(
            [sys.executable, "-c", AS_3_AND_4, str(theirs), str(ours), program, *arguments],
            pass_fds=(theirs, ours),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(ours)
        try:
            yield Browser(commands, answers)
        finally:
            os.close(commands)  # ends the browser
            os.close(answers)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
