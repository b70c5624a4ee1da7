"""What a check before sending may find: its code, whether it blocks, and the English sentence, which the catalogues translate."""

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final


class Severity(enum.StrEnum):
    """Whether an issue may leave with this finding."""

    BLOCK = "block"
    ADVISE = "advise"


class Code(enum.StrEnum):
    """What can be found. MAILER_CHECKS_BLOCK lists some of these."""

    HTML_CLIPPED = "html_clipped"
    HTML_BIG = "html_big"
    LEFT_OVER = "left_over"
    SUBJECT_EMPTY = "subject_empty"
    SUBJECT_LONG = "subject_long"
    SUBJECT_SHOUTS = "subject_shouts"
    SUBJECT_REPLY = "subject_reply"
    PREVIEW_MISSING = "preview_missing"
    TEXT_MISSING = "text_missing"
    TEXT_DIFFERS = "text_differs"
    UNSUBSCRIBE_MISSING = "unsubscribe_missing"
    UNSUBSCRIBE_HEADER = "unsubscribe_header"
    POSTAL_MISSING = "postal_missing"
    HEADER_WRONG = "header_wrong"
    LINE_LONG = "line_long"
    LINK_NOT_ABSOLUTE = "link_not_absolute"
    LINK_INSECURE = "link_insecure"
    LINK_TELLS_ADDRESS = "link_tells_address"
    LINK_GONE = "link_gone"
    LINK_UNREACHABLE = "link_unreachable"
    PICTURE_NO_ALT = "picture_no_alt"
    PICTURE_NO_WIDTH = "picture_no_width"
    PICTURE_NOT_HTTPS = "picture_not_https"
    PICTURE_FORMAT = "picture_format"
    PICTURE_GONE = "picture_gone"
    PICTURES_HEAVY = "pictures_heavy"
    CONTRAST_LIGHT = "contrast_light"
    CONTRAST_DARK = "contrast_dark"
    HTML_FORBIDDEN = "html_forbidden"
    HTML_UNSUPPORTED = "html_unsupported"
    HTML_STRUCTURE = "html_structure"


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A value that is said in words: an English sentence, which the catalogues translate, and what fills its {names}."""

    sentence: str
    values: Mapping[str, "Value"] = field(default_factory=dict)


# Numbers are written as each language does.
Value = str | int | float | Phrase


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found. `where`: the part or place, `values`: what the code's sentence names."""

    code: Code
    severity: Severity
    where: str
    values: Mapping[str, Value] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The sentence in English."""
        return in_english(Phrase(sentence=SENTENCES[self.code], values=self.values))

    def as_dict(self) -> dict[str, object]:
        """Return it in a form that is kept and printed."""
        return {
            "code": self.code.value,
            "severity": self.severity.value,
            "where": self.where,
            "values": {name: _kept(value) for name, value in self.values.items()},
            "words": self.words,
        }


def in_english(value: Value) -> str:
    """Say a value in English."""
    if isinstance(value, Phrase):
        said = {name: in_english(one) for name, one in value.values.items()}
        return value.sentence.format_map(said) if said else value.sentence
    return value if isinstance(value, str) else f"{value:,}"


def value_of(kept: object) -> Value:
    """Return a value as it was before Finding.as_dict wrote it for a database."""
    if isinstance(kept, dict):
        values = {str(name): value_of(one) for name, one in kept.get("values", {}).items()}
        return Phrase(sentence=str(kept.get("sentence", "")), values=values)
    return kept if isinstance(kept, int | float) else str(kept)


def blocking(findings: Collection[Finding]) -> list[Finding]:
    """Return those that block."""
    return [one for one in findings if one.severity == Severity.BLOCK]


# These are known only when links and pictures were asked over the network.
ASKED: Final = (Code.LINK_GONE, Code.LINK_UNREACHABLE, Code.PICTURE_GONE, Code.PICTURES_HEAVY)
# What readers, the law or their mail programs do not forgive. Whether a link answers may change by the minute, so that
# only advises.
BLOCKING: Final = (
    Code.HTML_CLIPPED,
    Code.LEFT_OVER,
    Code.SUBJECT_EMPTY,
    Code.TEXT_MISSING,
    Code.UNSUBSCRIBE_MISSING,
    Code.UNSUBSCRIBE_HEADER,
    Code.POSTAL_MISSING,
    Code.HEADER_WRONG,
    Code.LINE_LONG,
    Code.LINK_NOT_ABSOLUTE,
    Code.HTML_FORBIDDEN,
)
SENTENCES: Final = {
    Code.HTML_CLIPPED: "The HTML is {size} KB. Gmail cuts what is over 102 KB, and with it the link to unsubscribe.",
    Code.HTML_BIG: "The HTML is {size} KB, close to the 102 KB where Gmail cuts a mail.",
    Code.LEFT_OVER: "“{found}” looks like a placeholder that was not filled in.",
    Code.SUBJECT_EMPTY: "The subject is empty.",
    Code.SUBJECT_LONG: "The subject has {count} characters; phones show about 40, most programs fewer than 90.",
    Code.SUBJECT_SHOUTS: "The subject is in capitals or has several exclamation marks, which spam filters count.",
    Code.SUBJECT_REPLY: "The subject begins like an answer or a forwarded mail (“{found}”), as spam does.",
    Code.PREVIEW_MISSING: "There is no preview text: inboxes will show the first words of the mail instead.",
    Code.TEXT_MISSING: "The mail has no plain text part.",
    Code.TEXT_DIFFERS: "The plain text has only {percent} % of the words of the HTML; spam filters compare them.",
    Code.UNSUBSCRIBE_MISSING: "There is no link to unsubscribe.",
    Code.UNSUBSCRIBE_HEADER: "The headers for unsubscribing with one click are missing or wrong ({found}).",
    Code.POSTAL_MISSING: "The postal address is missing, which the law of many countries asks for.",
    Code.HEADER_WRONG: "The header {name} is not as mail servers want it: {found}.",
    Code.LINE_LONG: "A line of the message has {count} octets; mail servers take 998.",
    Code.LINK_NOT_ABSOLUTE: "“{url}” is not a complete web address.",
    Code.LINK_INSECURE: "{url} is not encrypted (http).",
    Code.LINK_TELLS_ADDRESS: "{url} holds the reader’s address, which lands in the logs of that site.",
    Code.LINK_GONE: "{url} does not exist ({answer}).",
    Code.LINK_UNREACHABLE: "{url} could not be opened: {answer}",
    Code.PICTURE_NO_ALT: "The picture {url} has no alternative text (alt).",
    Code.PICTURE_NO_WIDTH: "The picture {url} has no width, so Outlook shows it in its full size.",
    Code.PICTURE_NOT_HTTPS: "The picture {url} is not at an https address, so many programs do not show it.",
    Code.PICTURE_FORMAT: "The picture {url} is {format}, not shown by {share}; use JPEG, PNG or GIF.",
    Code.PICTURE_GONE: "The picture {url} can’t be loaded: {answer}",
    Code.PICTURES_HEAVY: "The pictures weigh {size} KB together; aim at less than 1,000 KB.",
    Code.CONTRAST_LIGHT: "“{text}” is hard to read: {color} on {background} has a contrast of {ratio}, less than {wanted}.",
    Code.CONTRAST_DARK: "In dark mode “{text}” is hard to read: {color} on {background} has a contrast of {ratio}, "
    "less than {wanted}.",
    Code.HTML_FORBIDDEN: "{found} is removed by mail programs or gets the mail refused.",
    Code.HTML_UNSUPPORTED: "{found} is not understood by {share}.",
    Code.HTML_STRUCTURE: "The HTML lacks {found}.",
}


def _kept(value: Value) -> object:
    if isinstance(value, Phrase):
        return {"sentence": value.sentence, "values": {name: _kept(one) for name, one in value.values.items()}}
    return value
