"""The shipped mails: complete, within the rules of e-mail clients, legible in light and dark, in French and English."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from lxml import html as lxml_html
from lxml.cssselect import CSSSelector
from playwright.sync_api import Page

from mailer.i18n import LANGUAGES
from mailer.mail import rendering
from mailer.mail.rendering import PARTS, Rendered
from tests.looks import open_page
from tests.mails import CONTEXTS, ISSUE, LANGUAGES_OF, PLACEHOLDERS, POLITICS, article, picture

FOLDER = Path(__file__).parent.parent / "templates" / "email"
MAILS = [
    (template, kind, language)
    for template in CONTEXTS
    for kind in CONTEXTS[template]
    for language in LANGUAGES_OF[template]
]
# Not understood by enough clients, or dangerous in some. (Figures: the project's notes on Can I Email's data.)
DENIED_HTML = (
    r"<(?:script|form|input|iframe|object|embed|video|audio|svg|picture|source|base|link|main|section|nav|bdi)\b"
)
DENIED_ATTRIBUTES = r"\s(?:on\w+|srcset|background)="
DENIED_CSS = (
    r"(?:display:\s*(?:inline-)?(?:flex|grid)|float:|var\(|\drem\b|position:|gap:|gradient|box-shadow|opacity:|object-fit"
    r"|light-dark|(?:margin|padding|border)-(?:inline|block)|@import|@font-face|url\(|expression|calc\(|transform)"
)
VOID = {"meta", "img", "br"}


def render(template: str, kind: str, language: str) -> Rendered:
    return rendering.render(template, language=language, context=CONTEXTS[template][kind])


def styles(html: str) -> list[str]:
    outside_mso = re.sub(r"(?s)<!--.*?-->", "", html)
    return re.findall(r"(?s)<style>(.*?)</style>", outside_mso)


def visible_words(html: str) -> list[str]:
    document = lxml_html.fromstring(re.sub(r"(?s)<!--.*?-->|<style.*?</style>|<title.*?</title>", "", html).encode())
    for hidden in document.xpath("//div[contains(@style, 'display:none')]"):
        hidden.drop_tree()
    return re.findall(r"\w[\w’.@/-]*", " ".join(document.itertext()))


def test_every_folder_has_its_three_parts_and_contexts() -> None:
    folders = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
    assert folders == sorted(CONTEXTS)
    for folder in folders:
        assert sorted(path.name for path in (FOLDER / folder).iterdir()) == sorted(PARTS)


@pytest.mark.parametrize(("template", "kind", "language"), MAILS)
def test_a_mail_has_no_left_overs(template: str, kind: str, language: str) -> None:
    rendered = render(template, kind, language)
    visible = " ".join(visible_words(rendered.html))
    for part in (rendered.subject, rendered.text, rendered.html, visible):
        assert not re.search(
            r"\{\{|\{%|\{\w+\}(?!\n)|\bNone\b|undefined|<Macro|\ufffd", re.sub(r"(?s)<style.*?</style>", "", part)
        )
    assert not re.search(r"<(p|h[1-6]|a|span)\b[^>]*>\s*</\1>", rendered.html)
    assert "\n\n\n\n" not in rendered.text


@pytest.mark.parametrize(("template", "kind", "language"), MAILS)
def test_tags_are_balanced(template: str, kind: str, language: str) -> None:
    stack: list[str] = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
            if tag not in VOID:
                stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert stack.pop() == tag, self.getpos()

    html = render(template, kind, language).html
    Balance().feed(html)
    assert stack == []
    assert html.count("<!--[if mso]>") == html.count("<![endif]-->") == 3


@pytest.mark.parametrize(("template", "kind", "language"), MAILS)
def test_a_mail_uses_only_what_e_mail_clients_understand(template: str, kind: str, language: str) -> None:
    html = render(template, kind, language).html
    assert html.startswith("<!DOCTYPE html>\n<html lang=")
    outside_mso = re.sub(r"(?s)<!--.*?-->", "", html)
    for denied in (DENIED_HTML, DENIED_ATTRIBUTES, r"\.(?:svg|webp)\b", r"data:", r"javascript:"):
        assert not re.search(denied, outside_mso, re.IGNORECASE), denied
    for css in (*styles(html), *re.findall(r'style="([^"]*)"', outside_mso)):
        assert not re.search(DENIED_CSS, css, re.IGNORECASE), re.search(DENIED_CSS, css, re.IGNORECASE)
    assert all(len(colour) == 7 for colour in re.findall(r"#[0-9A-Fa-f]{3,8}\b", " ".join(styles(html))))


@pytest.mark.parametrize(("template", "kind", "language"), MAILS)
def test_what_stays_in_style_blocks_is_simple_and_beats_attributes(template: str, kind: str, language: str) -> None:
    blocks = styles(render(template, kind, language).html)
    assert len(blocks) == 2
    for block in blocks:
        assert len(block) < 8000
        assert "/*" not in block
        assert not re.search(r"@media[^{]*\{[^{}]*@", block)
        inside = re.findall(r"@media[^{]*\{((?:[^{}]*\{[^}]*\})*)", block)
        assert inside
        for declaration in re.findall(r"[{;]([^{};]+:[^{};]+)[;}]", " ".join(inside)):
            assert declaration.endswith("!important")


@pytest.mark.parametrize(("template", "kind", "language"), MAILS)
def test_a_mail_is_well_made_for_screen_readers(template: str, kind: str, language: str) -> None:
    document = lxml_html.document_fromstring(render(template, kind, language).html.encode())
    wrapper = document.xpath("//div[@role='article'][@aria-roledescription='email'][@aria-label]")[0]
    assert (document.get("lang"), document.get("dir")) == (wrapper.get("lang"), wrapper.get("dir")) == (language, "ltr")
    assert len(document.xpath("//h1")) == 1
    levels = [int(heading.tag[1]) for heading in document.xpath("//h1|//h2|//h3")]
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    assert all(table.get("role") == "presentation" for table in document.xpath("//table"))
    assert all(image.get("alt") is not None and image.get("width") for image in document.xpath("//img"))
    assert all(href.startswith("https://") for href in document.xpath("//a/@href|//img/@src"))
    assert all(
        link.text_content().strip() or link.xpath(".//img[@alt!='']") or link.get("aria-hidden")
        for link in document.xpath("//a")
    )


@pytest.mark.parametrize(
    ("template", "kind"), [(template, kind) for template in CONTEXTS for kind in CONTEXTS[template]]
)
def test_french_mails_have_french_typography(template: str, kind: str) -> None:
    rendered = render(template, kind, "fr")
    texts = lxml_html.document_fromstring(re.sub(r"(?s)<style.*?</style>", "", rendered.html).encode())
    for text in (rendered.subject, rendered.text, *texts.itertext(), *texts.xpath("//@alt|//@aria-label")):
        assert "'" not in text
        # A plain space before such a sign, or none after a letter, except in addresses.
        assert not re.search(r"(?: |(?<=[a-zà-ÿ]))[:;!?»](?= |$|\n)", text), text


@pytest.mark.parametrize(("template", "kind", "language"), MAILS)
def test_the_text_part_says_what_the_html_says(template: str, kind: str, language: str) -> None:
    rendered = render(template, kind, language)
    text = set(re.findall(r"\w[\w’.@/-]*", rendered.text.lower()))
    words = {word.lower() for word in visible_words(rendered.html)}
    assert len(words & text) >= 0.6 * len(words)
    assert all(len(line) <= 72 or "https://" in line for line in rendered.text.splitlines())
    addresses = [line for line in rendered.text.splitlines() if "https://" in line]
    assert all(re.fullmatch(r"(?:[^:]+: )?https://\S+", line) for line in addresses)


def test_an_issue_can_be_left_and_read_online_from_both_parts() -> None:
    rendered = render("issue", "full", "fr")
    for slot in ("preferences", "unsubscribe", "address", "since"):
        assert PLACEHOLDERS[slot] in rendered.html
        assert PLACEHOLDERS[slot] in rendered.text
    for said in ("Se désinscrire", "67000 Strasbourg", "Association Le Courrier", "https://lettre.example/i/129"):
        assert said in rendered.html
        assert said in rendered.text


def test_the_online_version_holds_nothing_of_a_reader() -> None:
    rendered = render("issue", "online", "fr")
    assert not [slot for slot in PLACEHOLDERS.values() if slot in rendered.html + rendered.text]
    assert "Se désinscrire" not in rendered.html
    assert "https://lettre.example/hebdo" in rendered.html


def test_a_confirmation_has_one_button_its_address_in_clear_and_nothing_else_to_press() -> None:
    html = render("confirm", "full", "fr").html
    address = f"https://lettre.example/confirm/{PLACEHOLDERS['confirm']}"
    assert html.count(f'href="{address}"') == 2
    assert f">{address}</a>" in html
    assert "<img" not in html
    assert "désinscri" not in html


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_issue_of_twelve_articles_stays_under_60_kb(language: str) -> None:
    sections = [{"title": f"Section {number}", "articles": POLITICS} for number in range(4)]
    many = {**ISSUE, "sections": sections, "briefs": ISSUE["briefs"][:3]}  # type: ignore[index]
    size = len(rendering.render("issue", language=language, context=many).html.encode())
    assert size < 40_000, "the aim is 60 KB; Gmail cuts at 102 KB"


def test_a_right_to_left_issue_turns_round() -> None:
    html = rendering.render("issue", language="ar", context=ISSUE).html
    assert html.count('dir="rtl"') > 4
    assert 'align="left" width="120" class="th" style="width:120px;padding-top:4px;padding-right:16px' in html
    assert "padding-left:16px" not in html


def test_headings_use_a_font_that_has_the_languages_letters() -> None:
    assert "Georgia" in rendering.render("issue", language="fr", context=ISSUE).html
    assert "Georgia" not in rendering.render("issue", language="kk", context=ISSUE).html


def test_html_in_a_title_is_shown_not_obeyed() -> None:
    bad = article("<script>alert(1)</script> & Co", "x", excerpt="<img src=x onerror=y>", topic="</style>", author='"')
    html = rendering.render("issue", language="fr", context={**ISSUE, "lead": bad, "briefs": [bad]}).html
    assert "<script" not in html
    assert "<img src=x" not in html
    assert html.count("</style>") == 3


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_page() as page:
        yield page


@pytest.mark.parametrize("width", [320, 390, 600, 820])
@pytest.mark.parametrize("has_styles", [True, False])
def test_nothing_is_wider_than_the_screen(width: int, has_styles: bool, page: Page) -> None:
    endless = article(
        "W" * 200,
        "x" * 200,
        excerpt="https://" + "x" * 300,
        author="Q" * 90,
        topic="T" * 90,
        image=picture("a", "C" * 99),
    )
    sections = [{"title": "S" * 90, "articles": [endless, endless]}]
    html = rendering.render(
        "issue", language="fr", context={**ISSUE, "lead": endless, "sections": sections, "briefs": [endless]}
    ).html
    page.set_viewport_size({"width": width, "height": 800})
    page.set_content(html if has_styles else re.sub(r"(?s)<style.*?</style>", "", html))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelector('.thi').getBoundingClientRect().left") > width * 0.4


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("template", CONTEXTS)
def test_all_text_has_a_contrast_of_four_and_a_half(template: str, is_dark: bool) -> None:
    html = render(template, "full", "fr").html
    document = lxml_html.document_fromstring(re.sub(r"(?s)<!--.*?-->", "", html).encode())
    overrides = dark_rules(styles(html)[1]) if is_dark else []
    colours = {
        (colour_at(node, "color", overrides, document), colour_at(node, "background", overrides, document))
        for node in texts(document)
    }
    assert len(colours) >= 4
    for colour, ground in colours:
        assert contrast(colour, ground) >= 4.5, (colour, ground)


def texts(document: lxml_html.HtmlElement) -> list[lxml_html.HtmlElement]:
    return [
        text.getparent()
        for text in document.xpath("//body//text()[normalize-space()][not(ancestor::div[contains(@style,'none')])]")
    ]


def dark_rules(css: str) -> list[tuple[str, str]]:
    """Read `selector{property:value!important}` of the dark block's media query."""
    inside = css[css.index("{") + 1 : css.index("\n}")]
    return re.findall(r"([^{}]+)\{([^}]+)!important\}", inside)


def colour_at(
    node: lxml_html.HtmlElement, name: str, overrides: list[tuple[str, str]], document: lxml_html.HtmlElement
) -> str:
    """The colour of a text, or of the ground under it: the nearest one set, by attribute or by a later override."""
    for element in (node, *node.iterancestors()):
        found = re.findall(rf"(?:^|;){name}:(#\w+)", element.get("style", ""))
        for selector, rule in overrides:
            if rule.startswith(f"{name}:") and any(element is hit for hit in CSSSelector(selector.strip())(document)):
                found.append(rule.removeprefix(f"{name}:"))
        if found:
            return found[-1]
    raise AssertionError(f"no {name} for {node.text}")


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's ratio of two #RRGGBB colours."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
