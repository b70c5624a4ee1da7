"""HTML as mail programs know it: a small table of what they remove or do not understand, links, pictures, frame."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from lxml import etree

from mailer.counting import tracked
from mailer.issues.checks.mail import Facts, Found, Mail, found
from mailer.issues.findings import Code

CLIPPED_BYTES: Final = 102_000
BIG_BYTES: Final = 90_000
MOST_STYLE_CHARACTERS: Final = 16_000


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Something in CSS, what we call it, and which programs do not understand it."""

    pattern: re.Pattern[str]
    name: str
    programs: str


def _rule(pattern: str, name: str, programs: str) -> Rule:
    return Rule(pattern=re.compile(pattern, re.IGNORECASE), name=name, programs=programs)


# Removed by nearly all, or a reason for filters to refuse the mail.
FORBIDDEN_ELEMENTS: Final = ("script", "form", "iframe", "frame", "object", "embed", "applet", "base")
UNSUPPORTED_ELEMENTS: Final = {
    "svg": "Gmail, Outlook",
    "video": "Gmail, Outlook",
    "audio": "Gmail, Outlook",
    "picture": "Gmail, Outlook, Yahoo",
    "canvas": "Gmail, Outlook, Yahoo",
    "input": "Gmail, Outlook",
    "button": "Outlook",
    "dialog": "Gmail, Outlook, Yahoo",
}
UNSUPPORTED_STYLES: Final = (
    _rule(r"(?<![\w-])position\s*:\s*(?:absolute|fixed|relative|sticky)", "position", "Gmail, Outlook, Yahoo"),
    _rule(r"display\s*:\s*(?:inline-)?flex", "display:flex", "Outlook"),
    _rule(r"display\s*:\s*(?:inline-)?grid", "display:grid", "Gmail, Outlook, Yahoo"),
    _rule(r"(?<![\w-])float\s*:\s*(?:left|right)", "float", "Outlook"),
    _rule(r"var\(\s*--", "var(--…)", "Gmail, Outlook, Yahoo"),
    _rule(r"\d\s*rem\b", "rem", "Outlook, Yahoo, Orange, GMX"),
    _rule(r"calc\(", "calc()", "Outlook, Yahoo"),
    _rule(r"gradient\(", "gradient()", "Outlook"),
    _rule(r"light-dark\(", "light-dark()", "Gmail, Outlook, Yahoo"),
    _rule(
        r"(?:margin|padding|border|inset)-(?:inline|block)", "margin-inline, padding-block…", "Gmail, Outlook, Yahoo"
    ),
    _rule(r"object-fit\s*:", "object-fit", "Outlook, Yahoo"),
    _rule(r"@font-face", "@font-face", "Gmail, Outlook, Yahoo"),
    _rule(r"(?<![\w-])animation(?:-name)?\s*:|@keyframes", "animation", "Gmail, Outlook"),
)
PICTURE_FORMATS: Final = {
    "svg": "Gmail, Outlook",
    "webp": "Outlook",
    "avif": "Outlook, Yahoo, Gmail",
    "heic": "Gmail, Outlook, Yahoo",
    "tif": "Gmail, Outlook, Yahoo",
    "tiff": "Gmail, Outlook, Yahoo",
    "bmp": "Gmail",
}
_ACTING: Final = re.compile(r"\s*(?:javascript|vbscript|data\s*:\s*text)\s*:?", re.IGNORECASE)
_FORBIDDEN_STYLES: Final = re.compile(r"@import|expression\(|(?<![\w-])behavior\s*:", re.IGNORECASE)
_SCHEMES: Final = ("mailto:", "tel:", "sms:", "#")


def check(mail: Mail, facts: Facts) -> Iterator[Found]:
    """Look at the HTML part."""
    size = len(mail.html.encode())
    if size > CLIPPED_BYTES:
        yield found(Code.HTML_CLIPPED, "html", size=round(size / 1000))
    elif size >= BIG_BYTES:
        yield found(Code.HTML_BIG, "html", size=round(size / 1000))
    yield from _forbidden(mail)
    yield from _unsupported(mail)
    yield from _structure(mail)
    yield from _links(mail, facts)
    for picture in mail.elements("img"):
        yield from _picture(picture)


def addresses(mail: Mail) -> tuple[list[str], list[str]]:
    """Return the web addresses of a mail's links and of its pictures, each once, in order."""
    links = dict.fromkeys(one.get("href", "").strip() for one in mail.elements("a", "area"))
    pictures = dict.fromkeys(one.get("src", "").strip() for one in mail.elements("img"))
    # A counted link leads where the mail's own did; the pixel that counts is no picture.
    led = dict.fromkeys(tracked.plain(one) for one in links)
    return [one for one in led if _is_web(one)], tracked.without_pixels([one for one in pictures if _is_web(one)])


def _forbidden(mail: Mail) -> Iterator[Found]:
    names = []
    for element in mail.elements():
        tag = str(element.tag)
        attributes = {str(name).lower(): str(value) for name, value in element.attrib.items()}
        is_sheet = tag == "link" and "stylesheet" in attributes.get("rel", "").lower()
        is_refresh = tag == "meta" and attributes.get("http-equiv", "").lower() == "refresh"
        if tag in FORBIDDEN_ELEMENTS or is_sheet or is_refresh:
            names.append(f"<{tag}>")
        names += [f"{name}=" for name in attributes if name.startswith("on")]
        names += [f"{name}=" for name in ("href", "src", "action") if _ACTING.match(attributes.get(name, ""))]
    names += _FORBIDDEN_STYLES.findall(_styles(mail))
    for name in dict.fromkeys(names):
        yield found(Code.HTML_FORBIDDEN, "html", found=name)


def _unsupported(mail: Mail) -> Iterator[Found]:
    for name in dict.fromkeys(str(one.tag) for one in mail.elements(*UNSUPPORTED_ELEMENTS)):
        yield found(Code.HTML_UNSUPPORTED, "html", found=f"<{name}>", share=UNSUPPORTED_ELEMENTS[name])
    styles = _styles(mail)
    for rule in UNSUPPORTED_STYLES:
        if rule.pattern.search(styles):
            yield found(Code.HTML_UNSUPPORTED, "html", found=rule.name, share=rule.programs)
    if any("srcset" in one.attrib for one in mail.elements("img")):
        yield found(Code.HTML_UNSUPPORTED, "html", found="srcset", share="Gmail, Outlook, Yahoo")
    if any(_is_background_alone(one) for one in mail.elements()):
        yield found(Code.HTML_UNSUPPORTED, "html", found="background-image", share="Outlook")
    if sum(len(block) for block in _blocks(mail)) > MOST_STYLE_CHARACTERS:
        yield found(Code.HTML_UNSUPPORTED, "html", found="<style> > 16 KB", share="Gmail")


def _structure(mail: Mail) -> Iterator[Found]:
    if not mail.html.strip():
        yield found(Code.HTML_STRUCTURE, "html", found="<body>")
        return
    if not re.match(r"\s*<!doctype html", mail.html, re.IGNORECASE):
        yield found(Code.HTML_STRUCTURE, "html", found="<!DOCTYPE html>")
    root = mail.document
    if root is not None and not root.get("lang"):
        yield found(Code.HTML_STRUCTURE, "html", found="lang=")
    if not any((one.text or "").strip() for one in mail.elements("title")):
        yield found(Code.HTML_STRUCTURE, "html", found="<title>")
    opened, closed = (len(re.findall(form, mail.html)) for form in (r"<!(?:--)?\[if\b", r"<!\[endif\]"))
    if opened != closed:
        yield found(Code.HTML_STRUCTURE, "html", found="<![endif]-->" if opened > closed else "<!--[if …]>")


def _links(mail: Mail, facts: Facts) -> Iterator[Found]:
    for href in dict.fromkeys(one.get("href", "").strip() for one in mail.elements("a", "area")):
        if href.startswith(_SCHEMES) and href != "#":
            continue
        if not _is_web(href):
            yield found(Code.LINK_NOT_ABSOLUTE, "html", url=href)
        elif href.startswith("http://") and not _is_local(href):
            yield found(Code.LINK_INSECURE, "html", url=href)
        if facts.address and facts.address.lower() in unquote(href).lower():
            yield found(Code.LINK_TELLS_ADDRESS, "html", url=href)


def _picture(picture: etree._Element) -> Iterator[Found]:
    source = picture.get("src", "").strip()
    if picture.get("alt") is None:
        yield found(Code.PICTURE_NO_ALT, "html", url=source)
    if not re.fullmatch(r"\d+%?", picture.get("width", "")):
        yield found(Code.PICTURE_NO_WIDTH, "html", url=source)
    if source.startswith("data:") or (source.startswith("http://") and not _is_local(source)):
        yield found(Code.PICTURE_NOT_HTTPS, "html", url=source)
    elif not _is_web(source) and not source.startswith("cid:"):
        yield found(Code.LINK_NOT_ABSOLUTE, "html", url=source)
    ending = urlsplit(source).path.rpartition(".")[2].lower() if _is_web(source) else ""
    if ending in PICTURE_FORMATS:
        yield found(Code.PICTURE_FORMAT, "html", url=source, format=ending, share=PICTURE_FORMATS[ending])


def _styles(mail: Mail) -> str:
    return "\n".join((*_blocks(mail), *(one.get("style", "") for one in mail.elements())))


def _blocks(mail: Mail) -> list[str]:
    return [one.text or "" for one in mail.elements("style")]


def _is_background_alone(element: etree._Element) -> bool:
    """Tell whether text stands on a picture with no colour behind it, where Outlook shows nothing."""
    style = element.get("style", "").lower()
    has_picture = "background" in element.attrib or re.search(r"background(?:-image)?\s*:[^;]*url\(", style) is not None
    has_color = (
        "bgcolor" in element.attrib or re.search(r"background(?:-color)?\s*:[^;]*(?:#[0-9a-f]|rgb)", style) is not None
    )
    return has_picture and not has_color


def _is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", address)


def _is_local(address: str) -> bool:
    return urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1")
