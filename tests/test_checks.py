"""The checks before sending: each fault is found by its code, and the shipped mails have none."""

import re
from datetime import UTC, datetime

import pytest

from mailer.i18n import LANGUAGES
from mailer.issues import checks
from mailer.issues.checks import contrast
from mailer.issues.checks.mail import Facts
from mailer.issues.findings import BLOCKING, SENTENCES, Code, Finding, Severity
from mailer.mail import message, rendering
from tests.mails import CONTEXTS, NONCE

# Counted links are told by the address that they lead through.
pytestmark = pytest.mark.usefixtures("environment")

ADDRESS = "lea@example.org"
UNSUBSCRIBE = "https://lettre.example/u/" + "U" * 40
POSTAL = "12 rue des Caravanes\n67000 Strasbourg"
FACTS = Facts(address=ADDRESS, unsubscribe_url=UNSUBSCRIBE, postal_address=POSTAL, preview_text="Aussi : le yak")
LIST = {
    "List-Id": "<hebdo.courrier.example>",
    "List-Unsubscribe": "\r\n <https://lettre.example/u/" + "O" * 40 + "/one-click>",
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
}
FROM = {"From": message.mailbox("Le Courrier d’Asie centrale", "lettre@courrier.example", header="From")}
FOOT = f'<p><a href="{UNSUBSCRIBE}">Se désinscrire</a>, 12 rue des Caravanes, 67000 Strasbourg</p>'
TEXT = f"Bonjour\n\nSe désinscrire : {UNSUBSCRIBE}\n12 rue des Caravanes, 67000 Strasbourg\n"


def page(body: str = "<p>Bonjour</p>", head: str = "", foot: str = FOOT) -> str:
    return (
        f'<!DOCTYPE html><html lang="fr"><head><meta charset="utf-8"><title>x</title>{head}</head>'
        f"<body>{body}{foot}</body></html>"
    )


def raw(
    html: str | None = None, text: str = TEXT, subject: str = "L’eau revient", headers: dict[str, str] | None = None
) -> bytes:
    compiled = message.compile_message(
        nonce=NONCE,
        headers={**FROM, **LIST} if headers is None else headers,
        subject=subject,
        text=text,
        html=page() if html is None else html,
    )
    reader = message.Reader(
        address=ADDRESS,
        since="3 mars 2025",
        confirm="C" * 40,
        unsubscribe="U" * 40,
        oneclick="O" * 40,
        preferences="P" * 40,
        message_id="1.ab@courrier.example",
    )
    return compiled.fill(reader, now=datetime(2026, 11, 20, tzinfo=UTC))


def codes(mail: bytes, facts: Facts = FACTS) -> set[str]:
    return {one.code.value for one in checks.run(mail, facts)}


def in_body(body: str) -> set[str]:
    return codes(raw(page(body)))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("template", "kind"), [(one, kind) for one, kinds in CONTEXTS.items() for kind in kinds if kind != "online"]
)
def test_no_shipped_mail_has_a_finding(template: str, kind: str, language: str) -> None:
    context = CONTEXTS[template][kind]
    context = {**context, "newsletter": {**context["newsletter"], "postal_address": POSTAL}}  # type: ignore[dict-item]
    rendered = rendering.render(template, language=language, context=context)
    is_bulk = template == "issue"
    headers = {**FROM, **LIST} if is_bulk else {**FROM, "Auto-Submitted": "auto-generated"}
    facts = Facts(
        address=ADDRESS,
        unsubscribe_url=UNSUBSCRIBE if is_bulk else None,
        postal_address=POSTAL,
        preview_text="Aussi" if is_bulk else None,
        is_bulk=is_bulk,
    )
    assert checks.run(raw(rendered.html, rendered.text, rendered.subject, headers), facts) == []


def test_a_plain_good_mail_has_no_finding() -> None:
    assert checks.run(raw(), FACTS) == []


def test_what_blocks_is_chosen_and_comes_first() -> None:
    mail = raw(page("<img src='https://x.example/a.jpg'><script></script>"))
    assert [one.severity for one in checks.run(mail, FACTS)] == [Severity.BLOCK, Severity.ADVISE, Severity.ADVISE]
    lenient = Facts(
        address=ADDRESS, unsubscribe_url=UNSUBSCRIBE, postal_address=POSTAL, blocking=frozenset([Code.PICTURE_NO_ALT])
    )
    assert [one.code for one in checks.run(mail, lenient) if one.severity == Severity.BLOCK] == [Code.PICTURE_NO_ALT]


def test_every_code_has_a_sentence_that_its_values_fill() -> None:
    assert set(SENTENCES) == set(Code)
    assert set(BLOCKING) <= set(Code)
    for code, sentence in SENTENCES.items():
        values = dict.fromkeys(re.findall(r"\{(\w+)\}", sentence), "x")
        assert Finding(code=code, severity=Severity.ADVISE, where="html", values=values).words.endswith((".", "x"))


@pytest.mark.parametrize(
    ("size", "expected"),
    [(89_000, set()), (91_000, {"html_big"}), (102_001, {"html_clipped"}), (200_000, {"html_clipped"})],
)
def test_the_size_of_the_html_is_that_before_its_encoding(size: int, expected: set[str]) -> None:
    html = page()
    filled = html.replace("<p>Bonjour", "<p>Bonjour" + "é" * ((size - len(html.encode())) // 2) + " ")
    # The text has few of these words, so they are one word.
    assert codes(raw(filled)) == expected


@pytest.mark.parametrize(
    "left",
    [
        "{{ title }}",
        "{% if x %}",
        "https://x.example/%7B%7Bid%7D%7D",
        "[object Object]",
        "caf\ufffd",
        "*|FNAME|*",
        "%%name%%",
    ],
)
def test_left_over_placeholders_are_found_wherever_they_stand(left: str) -> None:
    assert "left_over" in in_body(f"<p>{left}</p>")
    assert "left_over" in in_body(f'<p><a href="https://x.example/" title="{left}">Lire</a></p>')
    assert "left_over" in codes(raw(text=f"{left}\n{TEXT}"))
    assert "left_over" in codes(raw(subject=f"Pour {left}"))


def test_none_is_left_over_only_where_a_value_was_to_stand() -> None:
    assert "left_over" in in_body("<p>Bonjour, None,</p>")
    assert "left_over" in in_body("<div>None</div>")
    assert "left_over" not in in_body("<p>None of us will forget, undefined as it is</p>")


def test_a_placeholder_of_ours_that_was_not_filled_is_left_over() -> None:
    other = message.placeholder("0123456789ab", "address")
    assert "left_over" in in_body(f"<p>{other}</p>")


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("", "subject_empty"),
        ("x" * 91, "subject_long"),
        ("DERNIÈRE CHANCE POUR VOUS", "subject_shouts"),
        ("Incroyable !!", "subject_shouts"),
        ("Re: votre commande", "subject_reply"),
        ("Fwd: à lire", "subject_reply"),
    ],
)
def test_a_subject_that_filters_or_readers_dislike_is_told(subject: str, expected: str) -> None:
    assert codes(raw(subject=subject)) == {expected}


@pytest.mark.parametrize(
    "subject", ["ONU : la COP30", "Қазақ киносы", "中亞新聞每週摘要與分析報導", "Régions : le réveil", "x" * 90]
)
def test_ordinary_subjects_pass(subject: str) -> None:
    assert codes(raw(subject=subject)) == set()


def test_a_missing_preview_text_is_told() -> None:
    facts = Facts(address=ADDRESS, unsubscribe_url=UNSUBSCRIBE, postal_address=POSTAL, preview_text=" ")
    assert codes(raw(), facts) == {"preview_missing"}


def test_the_text_part_must_be_there_and_alike() -> None:
    words = " ".join(f"mot{n}long" for n in range(60))
    assert codes(raw(text="\n")) == {"text_missing"}
    assert codes(raw(page(f"<p>{words}</p>"))) == {"text_differs"}
    assert codes(raw(page(f"<p>{words}</p>"), text=f"{words}\n{TEXT}")) == set()


def test_hidden_text_is_not_compared() -> None:
    words = " ".join(f"mot{n}long" for n in range(60))
    assert in_body(f'<div style="display:none">{words}</div>') == set()


def test_both_parts_need_the_link_to_unsubscribe() -> None:
    assert codes(raw(page(foot="<p>12 rue des Caravanes, 67000 Strasbourg</p>"))) == {"unsubscribe_missing"}
    assert codes(raw(text="Bonjour\n12 rue des Caravanes, 67000 Strasbourg")) == {"unsubscribe_missing"}


def test_the_link_to_unsubscribe_must_be_this_readers() -> None:
    assert "unsubscribe_missing" in codes(raw(page(foot=FOOT.replace("U" * 40, "V" * 40))))


def test_both_parts_need_the_postal_address_however_it_is_broken_into_lines() -> None:
    assert codes(raw(page(foot=FOOT.replace("67000", "75000")))) == {"postal_missing"}
    assert codes(raw(text=TEXT.replace("Caravanes", "Chevaux"))) == {"postal_missing"}
    assert codes(raw(text=TEXT.replace(", 67000", "\n67000"))) == set()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (rb"Message-ID: <[^>]*>", b"Message-ID: <1@localhost>", "header_wrong"),
        (rb"Date: [^\r]*", b"Date: yesterday", "header_wrong"),
        (rb"Date: [^\r]*", b"Date: Fri, 20 Nov 2026 00:00:00 -0000", "header_wrong"),
        (rb"Date: [^\r]*\r\n", b"", "header_wrong"),
        (rb"(Subject: )", rb"Subject: again\r\n\1", "header_wrong"),
        (rb"To: <[^>]*>", b"To: <lea@example.org>, <tom@example.org>", "header_wrong"),
        (rb"(To: )", rb"Bcc: <tom@example.org>\r\n\1", "header_wrong"),
        (rb"Subject: [^\r]*", "Subject: été".encode(), "header_wrong"),
        (rb"Subject: [^\r]*", b"Subject: =?utf-8?b?" + b"w6nDqcOp" * 10 + b"?=", "header_wrong"),
        (rb"Subject: [^\r]*", b"Subject: =?utf-8?b?4oI=?= =?utf-8?b?rA==?=", "header_wrong"),
        (rb"From: [^\r]*\r\n [^\r]*", b"From: <a@x.example>, <b@x.example>", "header_wrong"),
        (rb"List-Id: [^\r]*", b"List-Id: hebdo", "header_wrong"),
        (rb"text/plain", b"text/enriched", "header_wrong"),
        (rb"\r\nMIME-Version", b"\nMIME-Version", "header_wrong"),
        (rb"List-Unsubscribe: [^\r]*\r\n [^\r]*\r\n", b"", "unsubscribe_header"),
        (rb"<https://lettre", b"<http://lettre", "unsubscribe_header"),
        (rb"List-Unsubscribe=One-Click", b"List-Unsubscribe=Yes", "unsubscribe_header"),
        (rb"\r\n\r\n--", b"\r\n\r\n" + b"x" * 999 + b"\r\n--", "line_long"),
    ],
)
def test_a_header_that_servers_or_filters_mind_is_told(old: bytes, new: bytes, expected: str) -> None:
    mail, count = re.subn(old, new, raw(), count=1)
    assert count == 1
    assert expected in codes(mail)


@pytest.mark.parametrize(
    "href",
    [
        "/eau",
        "eau.html",
        "//x.example/",
        "www.x.example",
        "",
        "#",
        "https://",
        "ftp://x.example/",
        "https://x .example/",
    ],
)
def test_a_link_must_be_a_whole_web_address(href: str) -> None:
    assert in_body(f'<a href="{href}">Lire</a>') == {"link_not_absolute"}


@pytest.mark.parametrize(
    "href", ["https://x.example/a?b=c&amp;d#e", "mailto:a@x.example", "tel:+33123", "#haut", "https://пример.рф/"]
)
def test_these_links_are_whole(href: str) -> None:
    assert in_body(f'<a href="{href}">Lire</a>') == set()


def test_a_link_in_clear_or_with_the_readers_address_is_told() -> None:
    assert in_body('<a href="http://x.example/">Lire</a>') == {"link_insecure"}
    assert in_body('<a href="https://x.example/?m=lea%40Example.org">Lire</a>') == {"link_tells_address"}


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ('<img src="https://x.example/a.jpg" width="552" alt="Vue">', set()),
        ('<img src="https://x.example/a.jpg" width="100%" alt="">', set()),
        ('<img src="https://x.example/a.jpg" width="552">', {"picture_no_alt"}),
        ('<img src="https://x.example/a.jpg" alt="">', {"picture_no_width"}),
        ('<img src="https://x.example/a.jpg" width="auto" alt="">', {"picture_no_width"}),
        ('<img src="http://x.example/a.jpg" width="9" alt="">', {"picture_not_https"}),
        ('<img src="data:image/png;base64,AA" width="9" alt="">', {"picture_not_https"}),
        ('<img src="/a.jpg" width="9" alt="">', {"link_not_absolute"}),
        ('<img src="https://x.example/a.webp?v=1" width="9" alt="">', {"picture_format"}),
        ('<img src="https://x.example/a.SVG" width="9" alt="">', {"picture_format"}),
    ],
)
def test_pictures_have_alt_width_and_a_known_form(picture: str, expected: set[str]) -> None:
    assert in_body(picture) == expected


@pytest.mark.parametrize(
    "body",
    [
        "<script>x</script>",
        '<form action="https://x.example"></form>',
        '<iframe src="https://x.example"></iframe>',
        '<object data="x"></object>',
        '<p onclick="x()">a</p>',
        '<a href="https://x.example/" onmouseover="x">a</a>',
        '<a href=" JavaScript:x()">a</a>',
        "<style>@import 'https://x.example/a.css';</style>",
        '<p style="width:expression(x)">a</p>',
        '<link rel="stylesheet" href="https://x.example/a.css">',
        '<meta http-equiv="Refresh" content="0;url=https://x.example">',
        '<base href="https://x.example">',
    ],
)
def test_what_programs_remove_or_filters_refuse_blocks(body: str) -> None:
    assert "html_forbidden" in in_body(body)


@pytest.mark.parametrize(
    "body",
    [
        '<p style="position:absolute">a</p>',
        '<div style="display: flex">a</div>',
        '<div style="display:inline-grid">a</div>',
        '<p style="float:left">a</p>',
        '<p style="color:var(--x)">a</p>',
        '<p style="font-size:1.5rem">a</p>',
        '<p style="margin-inline:1px">a</p>',
        '<td style="background-image:url(https://x.example/a.png)">a</td>',
        '<td background="https://x.example/a.png">a</td>',
        "<svg></svg>",
        "<video></video>",
        "<picture></picture>",
        '<img src="https://x.example/a.jpg" srcset="https://x.example/b.jpg 2x" width="9" alt="">',
        "<style>@font-face{font-family:x}</style>",
        f"<style>{'p{color:#000}' * 1300}</style>",
    ],
)
def test_what_some_programs_do_not_understand_is_told(body: str) -> None:
    assert in_body(body) == {"html_unsupported"}


@pytest.mark.parametrize(
    "body",
    [
        '<td bgcolor="#ffffff" style="background-image:url(https://x.example/a.png)">a</td>',
        '<td style="background:#fff url(https://x.example/a.png)">a</td>',
        '<p style="background-position:left;scroll-behavior:smooth">a</p>',
        '<!--[if mso]><p style="position:absolute"><![endif]-->',
    ],
)
def test_these_are_understood(body: str) -> None:
    assert in_body(body) == set()


@pytest.mark.parametrize(
    "html",
    [
        page().removeprefix("<!DOCTYPE html>"),
        page().replace(' lang="fr"', ""),
        page().replace("<title>x</title>", ""),
        page("<!--[if mso]><p>x</p>"),
    ],
)
def test_the_frame_of_the_html_is_complete(html: str) -> None:
    assert "html_structure" in codes(raw(html))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('<p style="color:#777777">Lire</p>', {"contrast_light"}),
        ('<p style="color:#767676">Lire</p>', set()),
        ('<p style="color:#777777;font-size:24px">Lire</p>', set()),
        ('<h2 style="color:#777777;font-size:20px">Lire</h2>', set()),
        ('<p style="color:#aaaaaa;font-size:30px">Lire</p>', {"contrast_light"}),
        ('<table><tr><td bgcolor="#000000"><p style="color:#666">Lire</p></td></tr></table>', {"contrast_light"}),
        ('<table><tr><td bgcolor="#000000"><p style="color:#fff">Lire</p></td></tr></table>', set()),
        ('<div style="background:#333"><p>Lire</p></div>', {"contrast_light"}),
        ('<div style="background-color:rgb(10, 10, 10);color:white"><b>Lire</b></div>', set()),
        ('<p style="color:#eee;display:none">Lire</p>', set()),
        ('<p style="color:#eee">&nbsp;·&nbsp;</p>', set()),
        ('<div style="background:#fff url(https://x.example/a.png)"><p style="color:#eee">Lire</p></div>', set()),
        ('<p style="color:currentColor">Lire</p>', set()),
    ],
)
def test_text_is_legible_on_its_ground(body: str, expected: set[str]) -> None:
    assert in_body(body) == expected


DARK = "<style>@media (prefers-color-scheme:dark){.panel{background:#181C1F!important}.t{color:%s!important}}</style>"


@pytest.mark.parametrize(("color", "expected"), [("#ECEAE5", set()), ("#444444", {"contrast_dark"})])
def test_text_is_legible_in_dark_mode_too(color: str, expected: set[str]) -> None:
    body = '<div class="panel" style="background:#fff;color:#111"><p class="t" style="color:#222">Lire</p></div>'
    assert codes(raw(page(body, head=DARK % color))) == expected


def test_a_dark_ground_under_text_that_stays_dark_is_told() -> None:
    body = '<div class="panel" style="background:#fff"><p style="color:#222">Lire</p></div>'
    (only,) = checks.run(raw(page(body, head=DARK % "#fff")), FACTS)
    assert only.code == Code.CONTRAST_DARK
    assert only.words == (
        "In dark mode “Lire” is hard to read: #222222 on #181C1F has a contrast of 1.1, less than 4.5."
    )


@pytest.mark.parametrize(
    ("one", "other", "expected"), [("#000", "#fff", 21.0), ("#fff", "#fff", 1.0), ("#777777", "#ffffff", 4.48)]
)
def test_contrast_is_that_of_wcag(one: str, other: str, expected: float) -> None:
    first, second = contrast.read_color(one), contrast.read_color(other)
    assert first is not None
    assert second is not None
    assert contrast.ratio(first, second) == pytest.approx(expected, abs=0.01)
    assert contrast.ratio(second, first) == contrast.ratio(first, second)


@pytest.mark.parametrize(
    "html", ["", " ", "<", "\x00", "<p" * 2000, "<!--", "&#x110000;", "<html></html>" * 3, "<b>" * 500]
)
def test_any_html_is_looked_at_without_failing(html: str) -> None:
    assert isinstance(checks.run(raw(html), FACTS), list)


@pytest.mark.parametrize("mail", [b"", b"\r\n\r\n", b"Subject: x\r\n\r\nx", b"\xff\xfe", b"To: <" + b"a" * 2000])
def test_any_bytes_are_looked_at_without_failing(mail: bytes) -> None:
    assert "header_wrong" in codes(mail)
