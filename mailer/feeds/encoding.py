"""A feed's bytes become text: byte order mark, HTTP header, XML declaration and the bytes themselves are all heard.

The bytes have the last word: what is valid UTF-8 is UTF-8, whatever anybody declared, since other encodings hardly ever
look like it and servers declare the wrong one all the time.
"""

import codecs
import contextlib
import re
from typing import Final

_BYTE_ORDER_MARKS: Final = (
    # UTF-32 first: its little-endian mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Which of the first four bytes are zero, when they are two ASCII characters or one.
_WIDE_WITHOUT_MARK: Final[dict[tuple[bool, ...], str]] = {
    (True, True, True, False): "utf-32-be",
    (False, True, True, True): "utf-32-le",
    (True, False, True, False): "utf-16-be",
    (False, True, False, True): "utf-16-le",
}
_EBCDIC_DECLARATION: Final = "<?xm".encode("cp037")
_DECLARED: Final = re.compile(r"""\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']\s*([A-Za-z0-9._:-]{2,40})""")
_CHARSET: Final = re.compile(r"""charset\s*=\s*["']?\s*([A-Za-z0-9._:-]{2,40})""", re.IGNORECASE)
# Supersets that people mean when they write the narrower name (as browsers do), and names that Python does not know.
_MEANT: Final = {
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}
_ALIASES: Final = {"x-sjis": "cp932", "x-gbk": "gb18030", "x-mac-cyrillic": "mac-cyrillic", "windows-31j": "cp932"}
# Transformations and escapes that Python files among the text encodings; and the wide ones, which show by themselves.
_NOT_BELIEVED: Final = re.compile(
    r"utf-?(?:7|16|32)|idna|punycode|unicode_escape|raw_unicode_escape|undefined|mbcs|oem"
)
# Server software sends these of its own accord, so a document that says something else knows better.
_SERVER_DEFAULTS: Final = ("cp1252",)
_SAMPLE_BYTES: Final = 200_000


def decode(body: bytes, content_type: str | None) -> str:
    """Return the text of `body`, without a byte order mark. Never fails: what cannot be read becomes U+FFFD."""
    for mark, codec in _BYTE_ORDER_MARKS:
        if body.startswith(mark):
            return body.removeprefix(mark).decode(codec, "replace")
    wide = _WIDE_WITHOUT_MARK.get(tuple(byte == 0 for byte in body[:4]), "")
    if wide:
        return body.decode(wide, "replace")
    candidates = _declared_codecs(body, content_type)
    ebcdic = body.startswith(_EBCDIC_DECLARATION)
    if not ebcdic:
        # ISO-2022 and HZ are made of ASCII bytes only, so UTF-8 would seem to fit them.
        stateful = [codec for codec in candidates if codec.startswith(("iso2022", "hz"))]
        for codec in (*stateful, "utf-8"):
            with contextlib.suppress(UnicodeDecodeError, LookupError):
                return body.decode(codec)
        if _is_damaged_utf8(body[:_SAMPLE_BYTES]):
            return body.decode("utf-8", "replace")
    for codec in (*candidates, *(["cp037"] if ebcdic else [])):
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            return body.decode(codec)
    return body.decode("cp1251" if _is_cyrillic(body[:_SAMPLE_BYTES]) else "cp1252", "replace")


def _declared_codecs(body: bytes, content_type: str | None) -> list[str]:
    """Return what header and document declare, the more believable first."""
    head = body[:400].decode("cp037" if body.startswith(_EBCDIC_DECLARATION) else "latin-1")
    said_by_server = _codec(_CHARSET.search(content_type or ""))
    said_by_document = _codec(_DECLARED.match(head))
    said = [said_by_server, said_by_document]
    if said_by_server in _SERVER_DEFAULTS:
        said.reverse()
    return [codec for codec in dict.fromkeys(said) if codec]


def _codec(label: re.Match[str] | None) -> str | None:
    if label is None:
        return None
    name = label[1].lower()
    try:
        name = codecs.lookup(_ALIASES.get(name, name)).name
    except LookupError:
        return None
    return None if _NOT_BELIEVED.match(name) else _MEANT.get(name, name)


def _is_damaged_utf8(sample: bytes) -> bool:
    """Tell whether the bytes are UTF-8 but for a few: one bad byte must not turn every other accent to gibberish."""
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    whole = sum(1 for character in text if character > "\x7f") - broken
    return whole > 4 * broken


def _is_cyrillic(sample: bytes) -> bool:
    """Tell whether undeclared single-byte text is in windows-1251 rather than windows-1252.

    Accents are single letters among ASCII ones; Cyrillic words are runs of letters above 0x7F.
    """
    text = sample.decode("cp1251", "replace")
    in_runs = sum(len(run) for run in re.findall(r"[\u0400-\u04FF]{3,}", text))
    return 2 * in_runs > sum(1 for letter in text if "\u0400" <= letter <= "\u04ff")
