"""A headless Chromium that tests drive over WebDriver's protocol (W3C), through Debian's chromedriver. No library is needed."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync", "hide-scrollbars",
)  # fmt: skip
MISSING = "needs Debian's chromium and chromium-driver; tests/install_chromium.sh installs them where it may"


def available() -> bool:
    """Whether there is a browser, and a driver for it."""
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


class Browser:
    """One window. `address`: the driver's session."""

    def __init__(self, address: str) -> None:
        self._address = address

    def open(self, file: Path) -> None:
        """Show a local file."""
        self._ask("url", url=file.resolve().as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns; errors in it are raised here."""
        return self._ask("execute/sync", script=script, args=arguments)

    def screen(self, width: int, height: int = 844) -> None:
        """Give the window the size of a screen; below 500 px it is a phone's."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.developer("Emulation.setDeviceMetricsOverride", **size)

    def developer(self, command: str, **parameters: Any) -> Any:
        """Send a command of Chromium's own protocol (DevTools)."""
        return self._ask("goog/cdp/execute", cmd=command, params=parameters)

    def complaints(self) -> list[str]:
        """What the console has of errors and warnings since last asked."""
        return [entry["message"] for entry in self._ask("se/log", type="browser")]

    def picture(self, file: Path) -> None:
        """Keep the whole page as PNG."""
        shot = self.developer("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def _ask(self, what: str, **body: Any) -> Any:
        return ask(f"{self._address}/{what}", body)


def ask(address: str, body: dict[str, Any] | None, method: str = "POST") -> Any:
    """One call of the protocol: what it answers."""
    content = None if body is None else json.dumps(body).encode()
    with urlopen(Request(address, content, {"Content-Type": "application/json"}, method=method), timeout=120) as answer:
        return json.load(answer)["value"]


@contextmanager
def browser() -> Iterator[Browser]:
    """Start driver and browser with an empty profile; both end with the block, whatever happens in it."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile, driver_of(profile) as driver:
        try:
            port = next(found[1] for line in driver.stdout or () if (found := re.search(r"on port (\d+)\.", line)))
            options = {"args": [*(f"--{flag}" for flag in FLAGS), f"--user-data-dir={profile}"]}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            root = f"http://127.0.0.1:{port}/session"
            session = ask(root, {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            yield Browser(f"{root}/{session}")
        finally:
            os.killpg(driver.pid, signal.SIGKILL)


def driver_of(home: str) -> subprocess.Popen[str]:
    """Start chromedriver. In a session of its own, with the browser: both can be ended though one does not answer any more."""
    return subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True, start_new_session=True, env=os.environ | {"HOME": home}
    )
