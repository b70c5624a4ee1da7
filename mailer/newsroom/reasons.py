"""What the database keeps as an English sentence, so that it can be said in another language too."""

import re
from typing import Final

from mailer import i18n
from mailer.articles import staleness
from mailer.feeds import troubles
from mailer.issues import replacements
from mailer.newsroom import slot_words

SENTENCES: Final = (
    *slot_words.SENTENCES.values(),
    staleness.WORDS,
    "no new article",
    "{found} new articles of at least {wanted}; they wait for the next issue",
    "caught up by the slot of {moment} UTC",
    "“{newsletter}” has no confirmed readers yet.",
    "“{newsletter}” has no reader who is due and has not had all of it.",
    "paused by {name}",
    "paused from the command line",
    "the command line",
    replacements.NOTHING_LEFT,
    "the issue was cancelled",
    "unsubscribed",
    "erased",
)
# What is wrong with a feed, or with an article's picture: feeds.parse, shrinking and decoding say so.
_OF_FEEDS: Final = (
    "The feed is larger than {size} MB.",
    "The answer is empty.",
    "This is a web page, not a feed.",
    "This is a web page, not a feed; its feed seems to be at {address}.",
    "This is not a feed but a site map.",
    "This is not a feed but a list of feeds (OPML).",
    "This is not a feed but a web page.",
    "This is not a feed but a picture.",
    "This is not a feed but an error message.",
    "This is not a feed but an XML document of another kind ({name}).",
    "This looks like a feed but has neither a title nor articles in it.",
    "This is XML too damaged to be read.",
    "The feed breaks off before its end.",
    "This is not a feed: it is neither XML nor JSON.",
    "The feed declares entities of its own ({form}), which is refused for safety.",
    "This is JSON nested too deep for a feed.",
    "This is JSON that breaks off or is damaged.",
    "This is JSON but not a JSON Feed.",
)
_OF_PICTURES: Final = (
    "The picture is larger than {size} MB.",
    "There was too little time to unpack the picture.",
    "The picture is empty.",
    "The picture is SVG, which mail programs do not show.",
    "There is a web page at the address, not a picture.",
    "The picture is BMP or TIFF; use JPEG, PNG, GIF, WebP or AVIF.",
    "What is at the address is no JPEG, PNG, GIF, WebP or AVIF picture.",
    "The picture is damaged.",
    "The picture takes too long to unpack.",
    "The picture has more than {count} megapixels.",
    "The picture takes too much memory to unpack.",
    "The picture is damaged, or takes too much memory to unpack.",
    "The picture is too small to be shown: {width} × {height} pixels.",
)
_EVERY: Final = (*SENTENCES, *troubles.SENTENCES.values(), *_OF_FEEDS, *_OF_PICTURES)
_PATTERNS: Final = tuple(
    (re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(sentence))), sentence) for sentence in _EVERY
)


def say(language: str, text: str) -> str:
    """Say a sentence that the database keeps in the language; what is not known stays, such as a server's own words."""
    for pattern, sentence in _PATTERNS:
        if match := pattern.fullmatch(text):
            return i18n.gettext(language, sentence, **match.groupdict())
    return text
