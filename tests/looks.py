"""Compare two documents in a real browser: does every element look the same?"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, sync_playwright

# One string for each element: its tag, then every computed property. (Objects would cross to Python slowly.)
LOOK = """() => [...document.querySelectorAll('*')].filter(e => !e.matches('head, head *, style')).map(e => {
  const style = getComputedStyle(e);
  return [e.tagName + '.' + e.className, ...[...style].map(name => name + ': ' + style.getPropertyValue(name))].join('\\n');
})"""


@contextmanager
def open_page() -> Iterator[Page]:
    """Open a page that loads nothing; skip the test, saying so, where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here: nothing was looked at in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.route("**/*", lambda route: route.abort())
        yield page
        browser.close()


def assert_same_look(page: Page, before: str, after: str) -> None:
    """Compare every computed style of every element at two widths, in light and dark."""
    for width in (390, 700):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.set_content(before)
            wanted = page.evaluate(LOOK)
            page.set_content(after)
            seen = page.evaluate(LOOK)
            assert len(wanted) == len(seen)
            for old, new in zip(wanted, seen, strict=True):
                changed = sorted(set(old.splitlines()) ^ set(new.splitlines()))
                assert not changed, (width, scheme, old.splitlines()[0], changed)
