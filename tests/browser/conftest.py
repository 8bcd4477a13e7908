"""A Chromium without a window and without a network, and pages opened from disk in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ARGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

Require = Callable[[str], str]


@dataclass
class Opened:
    """A page, and what it did that it should not: said on the console, raised, asked a network."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def shown(self) -> tuple[float, float]:
        """The part of the run that the timeline shows, in microseconds."""
        left, right = self.page.evaluate("[assay.view.from, assay.view.to]")
        return left, right

    @property
    def selected(self) -> int:
        """Index of the selected operation's invocation; -1 for none."""
        index: int = self.page.evaluate("assay.o.index[assay.view.selected] ?? -1")
        return index

    @property
    def marked(self) -> list[int]:
        """Indices of the invocations of all operations that are marked."""
        rows: list[int] = self.page.evaluate("assay.marks.map(row => assay.o.index[row])")
        return rows

    def search(self, query: str) -> None:
        """Type a query and wait until it was answered."""
        self.page.fill("#query", query)
        self.page.wait_for_function("query => assay.answered === query", arg=query)


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser(require: Require) -> Iterator[Browser]:
    # A module at a time: Playwright's loop runs in this thread, and other tests want it back.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=require("chromium"), args=list(ARGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """`open_page(path, **context)`: the page when its timeline is ready; checked at the end."""
    opened: list[Opened] = []

    def open_(path: Path, fragment: str = "", ready: bool = True, **context: object) -> Opened:
        size = {"width": 1280, "height": 900}
        page = browser.new_context(**{"viewport": size, "offline": True, **context}).new_page()  # type: ignore[arg-type]
        it = Opened(page)
        page.on("console", lambda message: it.said.append(message.text))
        page.on("pageerror", lambda error: it.said.append(str(error)))
        page.on("dialog", lambda dialog: it.said.append(dialog.message))
        page.on("request", lambda request: it.asked.append(request.url))
        page.goto(path.as_uri() + fragment)
        if ready:
            page.wait_for_selector("html[data-ready]")
        opened.append(it)
        return it

    yield open_
    for each in opened:
        each.page.context.close()
        assert each.said == [], "nothing is to be said on the console"
        outside = [url for url in each.asked if not url.startswith(("file:", "data:"))]
        assert outside == [], "a report asks no network"
        assert len([url for url in each.asked if url.startswith("file:")]) == 1
