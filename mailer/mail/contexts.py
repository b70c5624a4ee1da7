"""The plain values that mail templates see, made from rows."""

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from mailer import links
from mailer.articles import pictures
from mailer.feeds.text import shorten
from mailer.issues import bodies, contents, schedules
from mailer.issues.contents import Content
from mailer.mail import brand, merge
from mailer.models.content import Article, Issue, Layout, Newsletter
from mailer.models.tracking import Tracked

# How much of an article's summary there is room for; a brief shows none.
EXCERPT_LENGTHS: Final = {Layout.LEAD: 220, Layout.CARD: 130, Layout.BRIEF: 130}
NOTHING_MEASURED: Final = {
    "is_tracked": False,
    "counts_clicks": False,
    "counts_opens": False,
    "follows_readers": False,
}


def issue_context(
    newsletter: Newsletter,
    issue: Issue,
    content: Content,
    language: str,
    *,
    reader: Mapping[str, object] | None,
    now: datetime,
) -> dict[str, object]:
    """Return the plain values that templates/email/issue sees; `reader` is None in the web version."""
    zone = schedules.zone(newsletter.timezone)
    described = functools.partial(_article_of, content, zone=zone)
    # What is written by hand says itself where each article stands.
    loose = content.placed if issue.body is None else ()
    articles = [(described(article, layout), layout) for article, layout in loose]
    local = (issue.started_at or issue.scheduled_at or now).astimezone(zone)
    return {
        "newsletter": newsletter_values(newsletter, language),
        "issue": {
            "title": merge.say(content.subject, reader),
            "number": issue.number,
            "date": local,
            "preview_text": merge.say(content.preview_text, reader),
            "body": bodies.blocks(issue, content, language, reader, described),
            "introduction": merge.paragraphs(issue.introduction, reader, language),
            "signature": newsletter.signature,
            "web_url": links.url(f"/i/{issue.id}"),
        },
        "lead": next((article for article, layout in articles if layout == Layout.LEAD), None),
        "sections": _sections([article for article, layout in articles if layout == Layout.CARD]),
        "briefs": [article for article, layout in articles if layout == Layout.BRIEF],
        "more": {"url": newsletter.site_url, "count": content.more} if content.more else None,
        "corrections": [{"title": one.title, "url": one.url, "note": one.note} for one in content.corrections],
        "removed": [_remark(one, zone) for one in content.removed],
        "reader": reader,
    }


def measures(newsletter: Newsletter) -> dict[str, object]:
    """Return what a mail's footer says of what is counted: by switch, and whether anything is."""
    counted = tracks(newsletter)
    return {
        "is_tracked": bool(counted),
        "counts_clicks": Tracked.CLICKS in counted,
        "counts_opens": Tracked.OPENS in counted,
        "follows_readers": Tracked.READERS in counted,
    }


def tracks(newsletter: Newsletter) -> list[str]:
    """Return what of a newsletter's mails is counted: values of models.tracking.Tracked."""
    switches = {
        Tracked.CLICKS: newsletter.tracks_clicks,
        Tracked.OPENS: newsletter.tracks_opens,
        Tracked.READERS: newsletter.tracks_readers,
    }
    return [name.value for name, is_on in switches.items() if is_on]


def newsletter_values(newsletter: Newsletter, language: str) -> dict[str, object]:
    """Return what templates see of a newsletter, in a language."""
    colors = brand.palette(newsletter.brand_color, newsletter.brand_color_dark)
    return {
        "name": newsletter.name,
        "description": newsletter.description,
        "url": newsletter.site_url,
        "language": language,
        "publisher": newsletter.publisher,
        "postal_address": newsletter.postal_address,
        "brand_color": colors.light,
        "brand_color_dark": colors.dark,
        "logo": {"url": newsletter.logo_url, "width": newsletter.logo_width} if newsletter.logo_url else None,
        "font": newsletter.font.value,
        "sender_name": newsletter.sender_name,
        "subscribe_url": links.url(f"/{newsletter.slug}"),
    }


def _sections(cards: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Group cards by topic in order of first appearance, those without one last; a single card keeps its own section."""
    sections: dict[str, list[dict[str, object]]] = {}
    for card in cards:
        sections.setdefault(str(card["topic"] or ""), []).append(card)
    last = {"": sections.pop("")} if "" in sections else {}
    return [{"title": title, "articles": articles} for title, articles in (sections | last).items()]


def _article_of(content: Content, article: Article, layout: Layout, *, zone: ZoneInfo) -> dict[str, object]:
    corrected = [_remark(one, zone) for one in content.corrected.get(article.id, ())]
    return {**_article(article, layout), "topic": content.topics.get(article.id), "corrected": corrected}


def _remark(remark: contents.Remark, zone: ZoneInfo) -> dict[str, object]:
    return {"date": remark.at.astimezone(zone), "note": remark.note}


def _article(article: Article, layout: Layout) -> dict[str, object]:
    return {
        "title": article.title,
        "url": article.url,
        "excerpt": shorten(article.excerpt, EXCERPT_LENGTHS[layout]),
        "author": article.author,
        "minutes": article.minutes,
        "image": _image(article, layout),
        "is_locked": article.is_locked,
        "published_at": article.published_at,
    }


def _image(article: Article, layout: Layout) -> dict[str, object] | None:
    """Return the picture as it is shown, `width` and `height` in CSS pixels; None when we have none that fits the place."""
    shown = pictures.shown(article.picture, layout) if article.picture else None
    if shown is None:
        return None
    return {
        "url": links.url(shown.path),
        "width": shown.width,
        "height": shown.height,
        "alt": article.image_alt or article.title,
        "credit": article.image_credit,
    }
