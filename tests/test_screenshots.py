"""The issue in a real browser, as phones, tablets and desktops show it: by day, by night, without pictures, without styles.

Structure and colours are read from the document, not compared as pixels, so that fonts may differ.
"""

import itertools
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Page

from mailer.mail import brand, rendering
from tests.looks import open_page
from tests.mails import CONTEXTS, ISSUE, LANGUAGES_OF, LOGO, NEWSLETTER

WIDTHS: Final = (390, 600, 820)
LOOKS: Final = ("light", "dark", "no images", "no styles")
# Bright, pale, dark and grey publishers, and the one of the design.
BRANDS: Final = ("#0F5C5C", "#FFD400", "#F6E6F0", "#00104A", "#808080")
# Everything that can be seen: titles in order, links with their boxes, texts with their colour and the ground under it.
SEEN = """() => {
  const box = e => { const r = e.getBoundingClientRect(); return {x: r.x, y: r.y, width: r.width, height: r.height} };
  const shows = e => e.getClientRects().length && getComputedStyle(e).visibility === 'visible';
  const ground = e => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor; if (!/^rgba.*, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)' };
  const texts = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) { const e = walker.currentNode.parentElement;
    if (walker.currentNode.data.trim() && shows(e))
      texts.push({words: walker.currentNode.data.trim(), color: getComputedStyle(e).color, ground: ground(e)}) }
  for (const e of document.querySelectorAll('img[alt]:not([alt=""])'))
    texts.push({words: e.alt, color: getComputedStyle(e).color, ground: ground(e)});
  return {
    scroll: document.documentElement.scrollWidth, body: getComputedStyle(document.body).backgroundColor,
    titles: [...document.querySelectorAll('h1, h2, h3')].map(e => [e.tagName, e.innerText.trim().replaceAll('\u00a0', ' ')]),
    links: [...document.querySelectorAll('a')].filter(e => !e.hasAttribute('aria-hidden')).map(e => (
      {words: e.innerText.trim(), boxes: [...e.getClientRects()].map(r => ({x: r.x, y: r.y, width: r.width, height: r.height})),
       alone: !e.closest('.soft, .intro, .foot:not(.links), .line')})),
    pictures: [...document.querySelectorAll('img')].map(e => ({...box(e), loaded: e.naturalWidth > 0})),
    panel: box(document.querySelector('.panel')), button: box(document.querySelector('.btn a')),
    texts: texts } }"""
TITLES = [
    ["H1", "Le Kazakhstan rouvre le dossier de l’eau du Syr-Daria"],
    ["H2", "Politique"],
    ["H3", "Bichkek réforme son Parlement sans passer par les urnes"],
    ["H3", "À Douchanbé, la succession se prépare à huis clos"],
    ["H2", "Société & environnement"],
    ["H3", "Mer d’Aral : le saxaoul regagne du terrain"],
    ["H3", "Écoles rurales : apprendre le tadjik par la radio"],
    ["H2", "En bref"],
    ["H2", "Rectificatif"],
]


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    with open_page() as page:
        yield page


def see(page: Page, html: str, *, width: int, look: str) -> dict[str, Any]:
    """Show a mail and read what can be seen."""
    page.unroute_all()
    body = None if look == "no images" else a_picture(552, 310)
    page.route("**/*", lambda route: route.fulfill(body=body, content_type="image/png") if body else route.abort())
    page.emulate_media(color_scheme="dark" if look == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 800})
    page.set_content(re.sub(r"(?s)<style.*?</style>", "", html) if look == "no styles" else html, wait_until="load")
    seen: dict[str, Any] = page.evaluate(SEEN)
    return seen


def a_picture(width: int, height: int) -> bytes:
    """A PNG of one colour."""
    rows = zlib.compress((b"\0" + b"\x80\xa0\xc0" * width) * height)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def an_issue(*, language: str = "fr", color: str | None = None, **newsletter: object) -> str:
    colors = brand.palette(color) if color else None
    shades = {"brand_color": colors.light, "brand_color_dark": colors.dark} if colors else {}
    context = {**ISSUE, "newsletter": {**NEWSLETTER, **shades, **newsletter}}
    return rendering.render("issue", language=language, context=context).html


def as_hex(color: str) -> str:
    return "#" + "".join(f"{int(float(part)):02X}" for part in re.findall(r"[\d.]+", color)[:3])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("look", LOOKS)
def test_an_issue_is_whole_at_every_width_and_in_every_look(look: str, width: int, browser_page: Page) -> None:
    seen = see(browser_page, an_issue(), width=width, look=look)
    assert seen["scroll"] <= width
    assert seen["titles"] == TITLES
    assert all(picture["loaded"] != (look == "no images") for picture in seen["pictures"])
    assert seen["panel"]["width"] <= 600
    assert abs(seen["panel"]["x"] * 2 + seen["panel"]["width"] - width) <= 1, "in the middle"
    words = " ".join(text["words"] for text in seen["texts"]).replace("\u00a0", " ")
    for last in (
        "Réservé aux abonnés",
        "Changer mes préférences",
        "Se désinscrire",
        "67000 Strasbourg",
        "12 autres articles",
    ):
        assert last in words


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("look", LOOKS)
def test_all_that_can_be_seen_can_be_read(look: str, width: int, browser_page: Page) -> None:
    seen = see(browser_page, an_issue(), width=width, look=look)
    assert len(seen["texts"]) > 40
    for text in seen["texts"]:
        assert brand.contrast(as_hex(text["color"]), as_hex(text["ground"])) >= 4.5, text


@pytest.mark.parametrize("color", BRANDS)
@pytest.mark.parametrize("look", ["light", "dark", "no images"])
def test_any_brand_can_be_read(color: str, look: str, browser_page: Page) -> None:
    seen = see(browser_page, an_issue(color=color, logo=LOGO), width=390, look=look)
    for text in seen["texts"]:
        assert brand.contrast(as_hex(text["color"]), as_hex(text["ground"])) >= 4.5, (color, text)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("look", ["light", "no styles"])
def test_a_finger_hits_what_it_aims_at(look: str, width: int, browser_page: Page) -> None:
    """A target is 24 px high, or a circle of 28 px around its middle touches no other one (WCAG 2.2, 2.5.8, asks for 24)."""
    seen = see(browser_page, an_issue(), width=width, look=look)
    assert seen["button"]["height"] >= 44
    links = [link for link in seen["links"] if link["alone"]]
    assert len(links) >= 14
    for one, other in itertools.permutations(links, 2):
        for aim, near in itertools.product(one["boxes"], other["boxes"]):
            if aim["height"] < 24:
                assert distance(aim, near) >= 14, (one["words"], other["words"])


def distance(aim: dict[str, float], near: dict[str, float]) -> float:
    """From the middle of a box to the nearest point of another one."""
    x, y = aim["x"] + aim["width"] / 2, aim["y"] + aim["height"] / 2
    across = max(near["x"] - x, 0, x - near["x"] - near["width"])
    down = max(near["y"] - y, 0, y - near["y"] - near["height"])
    return float((across**2 + down**2) ** 0.5)


def test_a_night_mail_is_dark_but_for_its_pictures(browser_page: Page) -> None:
    seen = see(browser_page, an_issue(logo=LOGO), width=390, look="dark")
    bright = {text["words"] for text in seen["texts"] if brand.contrast(as_hex(text["ground"]), "#000000") > 3}
    assert bright == {NEWSLETTER["name"], "Lire l’article"}, "the logo's plate and the button"
    assert brand.contrast(as_hex(seen["body"]), "#000000") < 1.3


@pytest.mark.parametrize("language", ["fr", "en", "ru", "kk", "ar"])
def test_thumbnails_stand_at_the_end_of_the_line(language: str, browser_page: Page) -> None:
    seen = see(browser_page, an_issue(language=language), width=390, look="light")
    thumbnails = [picture for picture in seen["pictures"] if picture["width"] < 200]
    assert len(thumbnails) == 3
    for one in thumbnails:
        middle = one["x"] + one["width"] / 2
        assert middle < 110 if language == "ar" else middle > 280


@pytest.mark.parametrize("logo", [None, LOGO, {**LOGO, "width": 536}])
@pytest.mark.parametrize("font", ["serif", "sans", "system"])
def test_a_logo_and_a_font_keep_the_mail_in_its_frame(
    font: str, logo: dict[str, object] | None, browser_page: Page
) -> None:
    for width in (320, 820):
        seen = see(browser_page, an_issue(font=font, logo=logo), width=width, look="no styles")
        assert seen["scroll"] <= width
        assert seen["titles"] == TITLES


@pytest.mark.parametrize("template", ["confirm", "already", "review", "alert"])
@pytest.mark.parametrize("look", LOOKS)
def test_notices_can_be_read_and_pressed(template: str, look: str, browser_page: Page) -> None:
    language = "ru" if "ru" in LANGUAGES_OF[template] else "fr"
    html = rendering.render(template, language=language, context=CONTEXTS[template]["full"]).html
    seen = see(browser_page, html, width=390, look=look)
    assert seen["scroll"] <= 390
    assert seen["button"]["height"] >= 44
    for text in seen["texts"]:
        assert brand.contrast(as_hex(text["color"]), as_hex(text["ground"])) >= 4.5, text
