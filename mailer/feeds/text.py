"""Plain text out of feeds: decoded exactly once, on one line, cut where a reader would cut it."""

import html
import re
import unicodedata
from typing import Final

ELLIPSIS: Final = "…"
_WORDS_A_MINUTE: Final = 220
_TAIL: Final = 1000
_LONGEST_TITLE_MARKUP: Final = 5000

# Controls, noncharacters, lone surrogates, the byte order mark, and bidirectional embeddings and overrides (which would
# reverse what follows the title in a subject line). Not: tab, line ends, LRM, RLM, joiners.
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff]"
)
# What windows-1252 has where ISO 8859-1 has control characters: people write &#146; and mean an apostrophe.
_WINDOWS_1252: Final = {
    code: bytes([code]).decode("cp1252") for code in range(0x80, 0xA0) if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
_SPACES: Final = re.compile(r"\s+")
_KEPT_SPACES: Final = ("\u00a0", "\u202f")

_NAMES: Final = (
    "a|abbr|acronym|address|article|aside|b|bdi|bdo|big|blockquote|br|center|cite|code|del|dfn|div|em|figure|figcaption"
    "|font|footer|h[1-6]|header|hr|i|iframe|img|ins|kbd|li|mark|nobr|ol|p|pre|q|s|samp|script|section|small|span|strike"
    "|strong|style|sub|sup|table|tbody|td|th|thead|time|tr|tt|u|ul|var|wbr"
)
# Bounded, as all patterns with an end that may be missing: a stranger's text must not take quadratic time.
_INVISIBLE_ELEMENT: Final = re.compile(r"<(script|style)\b[^<>]{0,200}>.{0,500}?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(rf"</?(?:{_NAMES})\b(?:\"[^\"]*+\"|'[^']*+'|[^'\"<>])*+/?>", re.IGNORECASE)
_COMMENT: Final = re.compile(r"<!--.{0,500}?-->", re.DOTALL)
_SPACING_TAG: Final = re.compile(r"</?(?:br|p|div|h[1-6]|li|hr|td|tr|ul|ol)\b", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

# Sentences that publishing systems put under a text. Looked for at its end only.
_BOILERPLATE: Final = re.compile(
    r"(?:\A|(?<=\s))(?:"
    r"(?:The post|The article) .{1,400}? (?:appeared first on|first appeared on) .{1,150}"
    r"|(?:L[’']article|L[’']entrée|Cet article) (?:.{1,400}? )?(?:est apparu en premier sur"
    r"|a été publié en premier sur) .{1,150}"
    r"|Der Beitrag .{1,400}? erschien zuerst auf .{1,150}"
    r"|La entrada .{1,400}? (?:se publicó primero en|apareció primero en) .{1,150}"
    r"|L[’']articolo .{1,400}? (?:proviene da|sembra essere il primo su) .{1,150}"
    r"|O post .{1,400}? apareceu primeiro em .{1,150}"
    r"|(?:Сообщение|Запись) .{1,400}? (?:появились? сначала на|впервые появилась|впервые появилось) .{1,150}"
    r"|(?:📬 ?)?Newsletters? ?[—–:|-] ?(?:(?:Pour|Abonne|Inscri|Recevez|Reçois|Subscribe|Sign up|To |Get|Подпи).{0,300})?"
    r"|(?:Pour rester informé|Inscrivez-vous à notre (?:newsletter|lettre)|Abonnez-vous à notre (?:newsletter|lettre)"
    r"|Subscribe to our newsletter|Sign up for our newsletter|Подпишитесь на наш[уи]? рассылку).{0,200}"
    r")\Z"
)
_CUT_BY_OTHERS: Final = re.compile(
    r"\s*(?:\[\s*(?:…|\.\.\.)\s*\]|…|\.\.\.)?\s*"
    r"(?:(?:Lire la suite|Lire l[’']article|Continue reading|Read more|Читать далее)[^.]{0,80})?\Z"
)
# After a word and before what begins like a sentence; a closing guillemet or quote belongs to it.
_SENTENCE_END: Final = re.compile(
    r"(?<=\w{3})(?:[.…؟]|[ \u00a0\u202f]?[!?])(?:[ \u00a0\u202f]?»|[”\"])?(?=\s+[^\W\d_a-zа-яà-öø-ÿ]|\s+[«“—])"
)
# The small words, such as "et les", that a cut leaves before it.
_DANGLING: Final = re.compile(r"[,;:]?(?:[ \u00a0][\w’']{1,3})+…\Z")
_SHORTENED: Final = re.compile(r"(?:\[\s*(?:…|\.\.\.)\s*\]|…|\.\.\.)\s*\Z")


def printable(text: str) -> str:
    """Return `text` without characters that are no text: controls, noncharacters, overrides of the direction."""
    return _UNPRINTABLE.sub("", text.translate(_WINDOWS_1252))


def one_line(text: str) -> str:
    """Return `text` printable and on one line; "" if nothing in it can be seen.

    A single no-break space stays one: French typography needs it.
    """
    line = _SPACES.sub(_one_space, printable(text)).strip()
    return line if any(unicodedata.category(character)[0] not in "CZ" for character in line) else ""


def title(markup: str) -> str:
    """Return a title's text: tags that HTML knows taken out, entities decoded once, on one line.

    "x < y" and "List<int>" stay: titles are typed by people who do not think of markup.
    """
    bare = _COMMENT.sub(" ", _INVISIBLE_ELEMENT.sub(" ", markup[:_LONGEST_TITLE_MARKUP]))
    bare = _TAG.sub(lambda tag: " " if _SPACING_TAG.match(tag[0]) else "", bare)
    return one_line(_REFERENCE.sub(lambda reference: html.unescape(reference[0]), bare))


def excerpt(text: str, limit: int) -> str:
    """Return the beginning of `text` (one line) for a reader, at most `limit` characters, without boilerplate."""
    text = _without_boilerplate(text)
    whole = _CUT_BY_OTHERS.sub("", text)
    if not whole:
        return ""
    if whole != text or is_shortened(text):
        return cut(whole, limit - 1).rstrip(ELLIPSIS + " .,;:") + ELLIPSIS
    return cut(whole, limit)


def is_shortened(text: str) -> bool:
    """Tell whether the text ends in the "[…]" by which a publishing system says that there is more."""
    return bool(_SHORTENED.search(text[-_TAIL:]))


def cut(text: str, limit: int) -> str:
    """Return `text`, or its beginning with "…", at most `limit` characters: between words if it can, never in a letter.

    A letter is a grapheme cluster: a family emoji, a flag, an accented or a Devanagari syllable stays whole.
    """
    if len(text) <= limit:
        return text
    room = limit - len(ELLIPSIS)
    end = next(
        (at for at in range(room, room // 2, -1) if text[at] == " " and is_boundary(text, at)),
        None,
    ) or next((at for at in range(room, 0, -1) if is_boundary(text, at)), room)
    return text[:end].rstrip(" \u00a0\u202f,;:–—-(«\"'") + ELLIPSIS


def shorten(text: str, limit: int) -> str:
    """Return `text` if it has at most `limit` characters, else its first whole sentences, or failing that a cut of it.

    Sentences are good enough if they fill more than half of the room. "M. Durand" and "2.5" end none.
    """
    if len(text) <= limit:
        return text
    ends = [match.end() for match in _SENTENCE_END.finditer(text, 0, limit + 2) if match.end() <= limit]
    return text[: ends[-1]] if ends and ends[-1] > limit // 2 else _DANGLING.sub(ELLIPSIS, cut(text, limit))


def is_boundary(text: str, at: int) -> bool:
    """Tell whether a grapheme cluster ends before position `at` (Unicode UAX 29, in the cases that text has)."""
    if at <= 0 or at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if before == "\u200d" or _extends(after) or (before == "\r" and after == "\n"):
        return False
    if unicodedata.combining(before) == 9 and unicodedata.category(after) == "Lo":
        return False  # A virama joins two consonants.
    if _is_regional(before) and _is_regional(after):
        start = at
        while start and _is_regional(text[start - 1]):
            start -= 1
        return (at - start) % 2 == 0
    # Hangul written as separate jamo: leading, vowel, trailing.
    return not ("\u1100" <= before <= "\u11ff" and "\u1100" <= after <= "\u11ff")


def minutes_to_read(text: str) -> int:
    """Return the reading time of a full text in whole minutes, at least 1; 0 for an empty one."""
    if not text:
        return 0
    # Chinese and Japanese do not space their words, which are about two characters long.
    unspaced = len(re.findall(r"[\u3040-\u30ff\u3400-\u9fff]", text))
    return max(1, round((len(text.split()) + unspaced / 2) / _WORDS_A_MINUTE))


def _one_space(run: re.Match[str]) -> str:
    if run[0] in _KEPT_SPACES:
        return run[0]
    return _KEPT_SPACES[0] if all(space in _KEPT_SPACES for space in run[0]) else " "


def _without_boilerplate(text: str) -> str:
    head, tail = text[:-_TAIL], text[-_TAIL:]
    while True:
        shorter = _strip_last(tail)
        if shorter == tail:
            return head + tail
        tail = shorter


def _strip_last(tail: str) -> str:
    """Take the latest-starting boilerplate off: an article may itself begin with "The post office …"."""
    for start in sorted(_starts(tail), reverse=True):
        if _BOILERPLATE.match(tail, start):
            return tail[:start].rstrip()
    return tail


def _starts(tail: str) -> list[int]:
    return [0, *(space.end() for space in re.finditer(r"\s", tail))]


def _extends(character: str) -> bool:
    if character < "\u0300":
        return False
    return (
        character in "\u200c\u200d"
        or unicodedata.category(character) in ("Mn", "Me", "Mc")
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
    )


def _is_regional(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"
