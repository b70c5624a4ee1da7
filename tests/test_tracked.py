"""Counted links and pixels: what is put into a mail, what is left alone, and that no link leads elsewhere."""

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mailer import links
from mailer.counting import tracked
from mailer.mail import message

pytestmark = pytest.mark.usefixtures("environment")

NONCE = "0123456789ab"
HTML = (
    '<body><a href="https://courrier.example/eau?a=1&amp;b=%C3%A9#fin">Eau</a>'
    "<A class='x' HREF='https://courrier.example/ville'>Ville</A>"
    '<a href="https://courrier.example/eau?a=1&amp;b=%C3%A9#fin">Encore</a>'
    f'<a href="https://lettre.example/u/{message.placeholder(NONCE, "unsubscribe")}">Leave</a>'
    '<a href="https://lettre.example/i/7">Online</a><a href="mailto:x@example.org">Mail</a>'
    f'<a href="https://courrier.example/?for={message.field_placeholder(NONCE, "city", "")}">City</a>'
    '<img src="https://courrier.example/eau.jpg"></body></html>'
)
EAU = "https://courrier.example/eau?a=1&b=%C3%A9#fin"
VILLE = "https://courrier.example/ville"


def hrefs(html: str) -> list[str]:
    return [tracked.html_escape.unescape(one) for one in re.findall(r'href="([^"]+)"', html, re.IGNORECASE)]


def read(url: str) -> tuple[tracked.Mark, str]:
    parts = urlsplit(url)
    return tracked.read_click(parts.path.rpartition("/")[2], parts.query)


def test_only_links_to_elsewhere_are_counted_each_under_one_number() -> None:
    assert tracked.targets(HTML) == [EAU, VILLE]
    marked = tracked.mark(HTML, 42, clicks=True, opens=False)
    counted = [one for one in hrefs(marked) if "/c/" in one]
    assert [read(one) for one in counted] == [
        (tracked.Mark(variant_id=42, link=1), EAU),
        (tracked.Mark(variant_id=42, link=2), VILLE),
        (tracked.Mark(variant_id=42, link=1), EAU),
    ]
    assert marked.count("https://lettre.example/u/") == HTML.count("https://lettre.example/u/")
    assert "mailto:x@example.org" in marked


def test_nothing_to_count_leaves_every_byte() -> None:
    assert tracked.mark(HTML, 42, clicks=False, opens=False) == HTML


def test_a_pixel_stands_at_the_end_and_says_which_variant() -> None:
    marked = tracked.mark(HTML, 42, clicks=False, opens=True)
    (url,) = re.findall(r'src="(https://lettre.example/o/[^"]+)"', marked)
    assert marked.replace(re.search(r"<img src=\"https://lettre[^>]*>", marked)[0], "") == HTML
    assert tracked.read_open(url.rpartition("/")[2]) == tracked.Mark(variant_id=42)


def test_a_reader_is_named_in_their_own_variant_only() -> None:
    token = tracked.reader_token(5, 42)
    url = tracked.click_url(42, 1, VILLE, joined=f".{token}")
    assert read(url)[0].subscription_id == 5
    assert read(url.replace(token, tracked.reader_token(5, 43)))[0].subscription_id is None
    assert read(url.replace(token, "x" * 40))[0] == tracked.Mark(variant_id=42, link=1)


@pytest.mark.parametrize(
    "other",
    [
        "https://evil.example/",
        "//evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        VILLE + "@evil.example",
        "",
    ],
)
def test_a_link_leads_nowhere_else(other: str) -> None:
    token = urlsplit(tracked.click_url(42, 1, VILLE)).path.rpartition("/")[2]
    for query in (f"u={other}", f"u={VILLE}%0d%0a{other}", f"x=1&u={VILLE}", other):
        with pytest.raises(links.TokenInvalid):
            tracked.read_click(token, query)


def test_what_a_mail_program_adds_to_a_link_changes_nothing() -> None:
    parts = urlsplit(tracked.click_url(42, 1, EAU))
    token = parts.path.rpartition("/")[2]
    assert tracked.read_click(token, f"{parts.query}&utm_source=x&fbclid=y")[1] == EAU


def test_a_token_of_a_pixel_opens_no_link() -> None:
    with pytest.raises(links.TokenInvalid):
        tracked.read_click(links.sign(links.Purpose.OPEN, 42, 1), f"u={VILLE}")


@hypothesis_settings(max_examples=200)
@given(st.text(st.characters(min_codepoint=33, exclude_categories=["Cs"]), min_size=1, max_size=80))
def test_every_target_comes_back_as_it_was(path: str) -> None:
    target = f"https://courrier.example/{path}"
    assert read(tracked.click_url(1, 1, target))[1] == target


def test_a_counted_link_is_checked_as_the_one_that_it_leads_to() -> None:
    assert tracked.plain(tracked.click_url(42, 1, EAU)) == EAU
    assert tracked.plain(VILLE) == VILLE
    assert tracked.plain("https://lettre.example/c/nonsense?u=x") == "https://lettre.example/c/nonsense?u=x"
