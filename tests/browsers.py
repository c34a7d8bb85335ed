"""A Chromium for tests of pages, and what a page of ours must do on a phone."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_BROWSER = ("there is no Chromium (apt-get install chromium, or set CHROMIUM)" if not CHROMIUM else
              "playwright is not installed" if not importlib.util.find_spec("playwright") else "")

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESK = {"viewport": {"width": 1280, "height": 900}}

_TABLES = """() => [...document.querySelectorAll('.scroll')].map(box => {
  const inside = (cell) => {
    const [a, b] = [cell.getBoundingClientRect(), box.getBoundingClientRect()];
    return a.left >= b.left - 1 && a.right <= b.right + 1 && a.width > 0;
  };
  const rows = [...box.querySelectorAll('tbody tr')].map(row => [...row.children]);
  const named = (row) => row[0].textContent;
  const hidden = rows.filter(row => row[1] && row[1].classList.contains('right') && !inside(row[1])).map(named);
  box.scrollLeft = 1e6;
  const covers = (row) => row[row.length - 1].getBoundingClientRect().left < row[0].getBoundingClientRect().right - 1;
  const lost = rows.filter(row => row.length > 1 && (!inside(row[0]) || !inside(row[row.length - 1]) || covers(row)))
    .map(named);
  box.scrollLeft = 0;
  return {head: box.querySelector('th').textContent, hidden, lost};
})"""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser. Its start costs a second, a further page in it little."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
            "--disable-sync"])
        yield browser
        browser.close()


@contextmanager
def open_file(path: Path, **options: Any) -> Iterator[Any]:
    """The page in a browser of its own; it may load nothing but itself and raise no error."""
    with chromium() as browser, open_in(browser, path, **options) as page:
        yield page


@contextmanager
def open_in(browser: Any, path: Path, **options: Any) -> Iterator[Any]:
    """The page in this browser, apart from its other pages; it may load nothing but itself and raise no error."""
    complaints: list[str] = []
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: complaints.append(request.url)
            if not request.url.startswith(("data:", path.resolve().as_uri())) else None)
    page.goto(path.resolve().as_uri())
    yield page
    context.close()
    assert complaints == []


def check_fit(path: Path) -> None:
    """At both widths nothing is wider than the page; on a phone every table shows its first figures at once, and
    when it is scrolled to its end its last ones beside the first column."""
    with chromium() as browser:
        for options in (DESK, PHONE):
            with open_in(browser, path, **options) as page:
                for part in page.query_selector_all("details > summary"):
                    part.click()
                width = options["viewport"]["width"]  # type: ignore[index]
                assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} at {width} px"
                tables = page.evaluate(_TABLES)
                assert tables, "there is a table to look at"
                for table in tables:
                    assert not table["hidden"] and not table["lost"], f"{path} at {width} px: {table}"
