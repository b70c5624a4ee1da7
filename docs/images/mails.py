"""Make the pictures of the mail anew, in every look that tests/test_screenshots.py measures: python docs/images/mails.py

The issue is the one of the tests, with the demo's pictures. Needs a checkout with its development tools and Chromium.
"""

import re
import sys
from pathlib import Path

from playwright.sync_api import Page, Route, sync_playwright

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from mailer.mail import rendering  # noqa: E402
from tests.mails import CONTEXTS, PLACEHOLDERS  # noqa: E402

PICTURES = ROOT / "mailer/embedded/sample/pictures"
# By the names that the tests' issue gives them.
SHOWN = {"lead": "syr-daria", "t1": "parlement", "t2": "orchestre", "t4": "saxaoul"}
# What stands in the reader's places.
READER = {"address": "lea@example.org", "since": "3\u00a0mars\u00a02025"}
# Name: width, scheme, whether pictures and styles are there.
LOOKS = {
    "mail-820": (820, "light", True, True),
    "mail-600": (600, "light", True, True),
    "mail-390": (390, "light", True, True),
    "mail-390-dark": (390, "dark", True, True),
    "mail-390-no-images": (390, "light", False, True),
    "mail-390-no-styles": (390, "light", True, False),
}


def issue(language: str) -> str:
    """Render the tests' issue for an example reader."""
    html = rendering.render("issue", language=language, context=CONTEXTS["issue"]["full"]).html
    for slot, placeholder in PLACEHOLDERS.items():
        html = html.replace(placeholder, READER.get(slot, "x"))
    return html


def serve(route: Route) -> None:
    """Give each picture of the issue one of the demo's."""
    name = route.request.url.rpartition("/")[2].partition(".")[0]
    route.fulfill(path=PICTURES / f"{SHOWN[name]}.jpg")


def photograph(page: Page, html: str, name: str) -> None:
    """Take the whole mail in one look."""
    width, scheme, has_pictures, has_styles = LOOKS[name]
    page.unroute_all()
    page.route("**/*", serve if has_pictures else lambda route: route.abort())
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 800})
    page.set_content(html if has_styles else re.sub(r"(?s)<style.*?</style>", "", html), wait_until="load")
    page.screenshot(path=HERE / f"{name}.png", full_page=True)


def main() -> None:
    """Make all pictures."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        for name in LOOKS:
            photograph(page, issue("fr"), name)
        browser.close()


if __name__ == "__main__":
    main()
