"""A person in a real browser: opens pages, looks whether everybody could use them, and takes pictures of them."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, ViewportSize, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from tests.services import needs_chromium
from tests.shop import ROOT, Shop

# Where pictures go if SCREENSHOTS is set. They are looked at before they are committed.
PICTURES = ROOT / "docs" / "screenshots"
DEMO_PASSWORD = "cartwright-demo"
_ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--force-color-profile=srgb"),
    # It asks nobody but the shop.
    *("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
# What axe may find on a page that keeps WCAG 2.2 AA: nothing that it calls serious or critical.
_WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
_WIDE, _NARROW = ViewportSize(width=1280, height=900), ViewportSize(width=390, height=844)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser. To be opened for one module at most: while it runs, Django refuses this thread its models."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=needs_chromium(), args=_ARGUMENTS)
        yield browser
        browser.close()


class Visitor:
    """Somebody with a browser window of their own, at one shop. `faults` are errors that the pages' scripts met."""

    def __init__(
        self,
        browser: Browser,
        shop: Shop,
        *,
        narrow: bool = False,
        scheme: Literal["light", "dark"] = "light",
        language: str = "en-GB",
        java_script_enabled: bool = True,
    ) -> None:
        self.shop = shop
        self.faults: list[str] = []
        context = browser.new_context(
            base_url=shop.url,
            viewport=_NARROW if narrow else _WIDE,
            color_scheme=scheme,
            locale=language,
            reduced_motion="reduce",
            java_script_enabled=java_script_enabled,
        )
        context.set_default_timeout(15_000)
        self.page: Page = context.new_page()
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._hear)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.faults.append(f"{message.text} ({message.location.get('url', '')})")

    def go(self, path: str) -> Page:
        """Open an address of the shop."""
        self.page.goto(path)
        return self.page

    def log_in_to_staff_pages(self, email: str, password: str = DEMO_PASSWORD, otp: str = "") -> Page:
        """Through the log-in page of the staff."""
        self.go("/admin/")
        self.page.get_by_label("E-mail or username").fill(email)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_label("One-time code").fill(otp)
        self.page.get_by_role("button", name="Log in").click()
        return self.page

    def look(self, name: str, *, whole: bool = True) -> None:
        """Nothing on the page keeps anybody from using it, and no script met an error; take a picture of it, or of
        what the window shows.
        """
        self.page.wait_for_load_state()
        found = self._violations()
        grave = [
            f"{each['id']}: {each['help']}\n    " + "\n    ".join(node["html"] for node in each["nodes"][:5])
            for each in found
            if each["impact"] in {"serious", "critical"}
        ]
        assert grave == [], f"{self.page.url}:\n" + "\n".join(grave)
        assert self.faults == [], "\n".join(self.faults)
        if os.environ.get("SCREENSHOTS"):
            PICTURES.mkdir(exist_ok=True)
            self._photograph(PICTURES / f"{name}.png", whole=whole)

    def _violations(self) -> list[dict[str, Any]]:
        try:
            return list(Axe().run(self.page, options=_WCAG).response["violations"])
        except PlaywrightError:
            # The page was still leading to another.
            self.page.wait_for_load_state()
            return list(Axe().run(self.page, options=_WCAG).response["violations"])

    def _photograph(self, path: Path, *, whole: bool) -> None:
        """The window, or the whole page in a window of its height: else what sticks to its edge lies in the middle."""
        window = self.page.viewport_size
        assert window
        if whole:
            height = self.page.evaluate("document.documentElement.scrollHeight")
            self.page.set_viewport_size({"width": window["width"], "height": max(height, window["height"])})
        picture = Image.open(BytesIO(self.page.screenshot()))
        # Of 256 colours it is a third as large, and looks the same.
        picture.convert("RGB").quantize(256).save(path, optimize=True)
        self.page.set_viewport_size(window)

    def download(self, name: str) -> Path:
        """What comes when the link or button of that name is pressed, as a file."""
        with self.page.expect_download() as coming:
            self.page.get_by_role("link", name=name).or_(self.page.get_by_role("button", name=name)).first.click()
        path = Path(coming.value.path())
        return path.rename(path.with_name(f"{secrets.token_hex(4)}-{coming.value.suggested_filename}"))
