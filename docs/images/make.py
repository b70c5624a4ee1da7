"""Make the README's pictures anew from a running `bin/demo --fresh`, whose output is given: make.py demo-output.txt

Needs Debian's chromium. The issue page is a draft of 12 articles, for which a second newsletter is made on the same feed.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent


def mailer(*arguments: str) -> str:
    """Run the command line on the demo's installation."""
    environment = {**os.environ, "MAILER_CONFIG": ".mailer/demo/mailer.toml"}
    command = [sys.executable, "-m", "mailer", *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def a_draft(site: str) -> str:
    """Draft an issue of 12 articles and return its id."""
    fields = ["--publisher", "Association Le Courrier", "--postal-address", "12 rue des Caravanes, 67000 Strasbourg"]
    fields += ["--name", "Le Courrier d’Asie centrale", "--sender", "lettre@courrier.example", "--site", site]
    mailer("newsletter", "add", "hebdo", *fields, "--set", "introduction=Bonjour,\n\nVoici nos articles de la semaine.")
    mailer("feed", "add", "hebdo", f"{site}/feed.xml")
    for name in ("lea", "timour", "ainoura"):
        mailer("subscribers", "add", "hebdo", f"{name}@example.org", "--proof", "picture")
    return find(r"issue (\d+)", mailer("issue", "create", "hebdo"))


def find(pattern: str, text: str) -> str:
    """Return the group that the pattern finds."""
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"{pattern} is not in: {text[:200]}")
    return found.group(1)


def picture(browser: Browser, name: str, url: str, *, width: int, height: int, sign_in: str = "") -> None:
    """Photograph the top of a page."""
    context = browser.new_context(viewport={"width": width, "height": height}, device_scale_factor=1.5)
    page = context.new_page()
    if sign_in:
        page.goto(sign_in)
        page.click("button")
        page.wait_for_url("**/admin")
    page.goto(url)
    page.wait_for_timeout(500)
    page.screenshot(path=HERE / name)
    context.close()


def main() -> None:
    """Make the three pictures."""
    printed = Path(sys.argv[1]).read_text("utf-8")
    link = find(r"(http\S+/admin/sign-in/\S+)", printed)
    inbox, site = find(r"Inbox.* (http\S+)", printed), find(r"site.* (http\S+)", printed)
    newest = httpx.get(f"{inbox}/messages.json").json()[0]["id"]
    draft = a_draft(site)
    arguments = ["--no-sandbox", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        mail = f"{inbox}/messages/{newest}/html"
        picture(browser, "mail.png", mail, width=390, height=844)
        picture(browser, "mail-dark.png", f"{mail}?scheme=dark", width=390, height=844)
        picture(
            browser,
            "issue.png",
            f"{link.partition('/sign-in/')[0]}/issues/{draft}",
            width=1360,
            height=1080,
            sign_in=link,
        )
        browser.close()


if __name__ == "__main__":
    main()
