"""Whatever others wrote into any field, pages show it as text; and no table that is taken away calculates anything."""

import csv
import io
import itertools
import re
from collections.abc import Iterator

import pytest
from lxml import etree, html
from playwright.sync_api import Dialog, sync_playwright

from mailer.db import transaction
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.crowded import crowd
from tests.desk import OPEN_PATHS, filled, routes, running_desk, sign_in
from tests.test_accessibility import CHROMIUM
from tests.web_site import Site

PAYLOADS = (
    "<script>alert('xss')</script>",
    "</script><script>alert('xss')</script>",
    "<ScRiPt src=//xss.example/x.js></sCrIpT>",
    "<img src=xss onerror=alert(1)>",
    '"><img src=xss onerror=alert(1)>',
    "'><img src=xss onerror=alert(1)>",
    '" onmouseover="alert(1)" xss="',
    "' onfocus='alert(1)' autofocus xss='",
    "<svg onload=alert('xss')>",
    "<svg><script>alert('xss')</script></svg>",
    "<svg><a xlink:href='javascript:alert(1)'>xss</a></svg>",
    "<math><mtext><img src=xss onerror=alert(1)></mtext></math>",
    "<iframe src=javascript:alert('xss')></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'>xss</iframe>",
    "<object data=javascript:alert('xss')></object>",
    "<embed src=javascript:alert('xss')>",
    "<a href=javascript:alert('xss')>xss</a>",
    "<a href=' java\tscript:alert(1)'>xss</a>",
    "<form action=javascript:alert('xss')><button>xss</button></form>",
    "<input autofocus onfocus=alert('xss')>",
    "<details open ontoggle=alert('xss')>",
    "<base href=//xss.example/>",
    "<meta http-equiv=refresh content='0;url=//xss.example'>",
    "<link rel=stylesheet href=//xss.example/x.css>",
    "<style>@import '//xss.example/x.css';</style>",
    "<!--><img src=xss onerror=alert(1)>-->",
    "<![CDATA[<img src=xss onerror=alert(1)>]]>",
    "{{ 7 * 7 }}${7*7}<%= 7*7 %>xss",
    "&lt;img src=xss onerror=alert(1)&gt;",
    "＜script＞alert('xss')＜/script＞",
    "</title></textarea></select><img src=xss onerror=alert(1)>",
    "\u202e<b onclick=alert('xss')>\u2066",
)
FORMULAS = ("=HYPERLINK(1)", "+1+1", "-2+3", "@SUM(1)", "\t=1", " =1", "|calc", "%0A=1")
# The first ends only with the issue; the second asks the workers, which takes a second.
LEFT_OUT = {"/admin/issues/{issue_id}/progress", "/admin/settings/system"}
PUBLIC = ("/", "/courrier", "/courrier/embed", "/courrier/archive", "/preferences", "/check-inbox", "/courrier/1001")
FEEDS = ("/courrier/feed.atom", "/courrier/feed.rss")
# In a browser, which takes a second each.
SHOWN = (
    "/admin",
    "/admin/issues",
    "/admin/articles",
    "/admin/subscribers",
    "/admin/subscribers/{subscriber_id}",
    "/admin/issues/{issue_id}",
    "/admin/newsletters/{slug}/next",
    "/admin/newsletters/{slug}/topics",
    "/admin/settings/audit",
    "/admin/forms/{slug}",
)
ADDRESSES = ("href", "src", "action", "formaction", "srcset", "data", "poster", "background", "xlink:href")
_SCRIPTS = re.compile(r"^\s*(javascript|vbscript|data:(?!,))", re.IGNORECASE)
_MADE = " | ".join(
    (
        "//img[contains(@src, 'xss')]",
        "//iframe[contains(@src, 'script') or @srcdoc]",
        "//object | //embed | //math | //base",
        "//*[starts-with(@href, '//xss') or starts-with(@src, '//xss') or contains(@action, 'alert')]",
        "//style[contains(., 'xss')]",
    )
)


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The desk, with every payload in every field that others fill in."""
    with running_desk(monkeypatch) as running:
        sign_in(running.client)
        yield running


@pytest.fixture
def ids(site: Site) -> dict[str, int]:
    """The things whose every field holds all payloads; others hold one payload a field."""
    everything, turns = " ".join((*PAYLOADS, *FORMULAS)), itertools.cycle((*FORMULAS, *PAYLOADS))
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        made = crowd(session, newsletter, 1, lambda _: everything)
        for number in range(2, 12):
            crowd(session, newsletter, number, lambda _: next(turns))
        for name in ("name", "description", "publisher", "postal_address", "sender_name", "signature", "introduction"):
            setattr(newsletter, name, everything[:290])
        newsletter.tracks_readers = newsletter.tracks_clicks = True
    return made


def made_of(text: str) -> list[str]:
    """What a page has that words must never become: scripts, handlers, addresses that run, elements of the payloads."""
    page = html.document_fromstring(text)
    found = []
    for element in page.iter(etree.Element):
        name = str(element.tag)
        attributes = {str(key): str(value) for key, value in element.attrib.items()}
        if name == "script" and not attributes.get("src", "").startswith("/static/"):
            found.append(str(etree.tostring(element))[:120])
        for key, value in attributes.items():
            is_handler = key.lower().startswith("on")
            if is_handler or (key in ADDRESSES and _SCRIPTS.match(value) and value != "data:,"):
                found.append(f"<{name} {key}={value[:80]!r}>")
    made = page.xpath(_MADE)
    assert isinstance(made, list)
    return found + [str(html.tostring(one))[:120] for one in made if isinstance(one, html.HtmlElement)]


def test_words_stay_words_on_every_page(site: Site, ids: dict[str, int]) -> None:
    desk, shown = site.client, 0
    for method, path in routes():
        if method != "GET" or path in OPEN_PATHS | LEFT_OUT:
            continue
        answer = desk.get(filled(path, **ids).replace("/topics/eau", "/topics/crowd-1"))
        assert answer.status_code < 500, path
        if answer.headers.get("content-type", "").startswith("text/html"):
            assert made_of(answer.text) == [], path
            assert "49" not in re.findall(r"(?:^|[>\s])(49)(?=xss)", answer.text), path
            shown += "alert(" in answer.text or "alert&#" in answer.text
    # The payloads really were on these pages.
    assert shown > 15


def test_words_stay_words_on_readers_pages_and_in_feeds(site: Site, ids: dict[str, int]) -> None:
    assert ids
    for path in PUBLIC:
        answer = site.client.get(path)
        assert answer.status_code < 500, path
        assert made_of(answer.text) == [], path
    for path in FEEDS:
        answer = site.client.get(path)
        if answer.status_code == 200:
            root = etree.fromstring(answer.content)
            assert {etree.QName(one).localname for one in root.iter(etree.Element)}.isdisjoint(
                {"script", "img", "iframe"}
            )


@pytest.mark.parametrize("path", ["/admin/subscribers/export.csv", "/admin/settings/audit.csv"])
def test_no_table_that_is_taken_away_calculates_anything(site: Site, ids: dict[str, int], path: str) -> None:
    assert ids
    text = site.client.get(path).text.removeprefix("\ufeff")
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) > 5
    cells = [cell for row in rows for cell in row]
    assert [cell for cell in cells if re.match(r"\s*[=+@|%]|\s*-(?!\d)|[\t\r]", cell)] == []


def test_no_page_says_anything_in_a_browser(site: Site, ids: dict[str, int]) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: nothing was looked at in a browser")
    said: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(bypass_csp=True)

        def note(dialog: Dialog) -> None:
            said.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", note)
        page.route("**/*", lambda route: route.continue_() if route.request.url.startswith(site.url) else route.abort())
        page.context.add_cookies(
            [{"name": name, "value": value, "url": site.url} for name, value in site.client.cookies.items()]
        )
        # What is listened to would be heard.
        page.set_content("<img src=x onerror=alert('heard')>")
        page.wait_for_timeout(300)
        assert said == ["heard"]
        said.clear()
        for path in SHOWN:
            page.goto(site.url + filled(path, **ids))
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            for field in page.query_selector_all("input:not([type=hidden]), textarea")[:5]:
                if field.is_visible():
                    field.focus()
        browser.close()
    assert said == []


def test_the_test_finds_what_it_is_for() -> None:
    assert all(made_of(f"<p>{payload}</p>") for payload in PAYLOADS[:5])
    assert made_of('<a href="javascript:alert(1)">x</a>')
    assert made_of('<input onfocus="alert(1)">')
    assert made_of("<p>&lt;script&gt;</p><script src='/static/desk.js'></script>") == []
