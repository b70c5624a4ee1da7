"""From rows to rendered mails: the plain values that templates see, and the variants they become."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer import (
    __version__,
    attributes,
    brand,
    i18n,
    links,
    merge,
    message,
    pictures,
    rendering,
    sandbox,
    schedules,
    settings,
    tracked,
)
from mailer.models.content import Article, Issue, Layout, MailKind, Newsletter, Variant
from mailer.models.tracking import Tracked, VariantLink

# An article without a topic of its own stands under the last section.
Placed = Sequence[tuple[Article, Layout]]


_NOTHING_MEASURED: Final = {
    "is_tracked": False,
    "counts_clicks": False,
    "counts_opens": False,
    "follows_readers": False,
}
# The reader of a preview.
EXAMPLE_NAME: Final = "Léa Martin"
# Where the one link of a mail to a single reader leads, if not to the page that confirms a subscription.
_CONFIRM_WORDS: Final = {MailKind.MANAGE: "account", MailKind.CHANGE_ADDRESS: "address"}


@dataclass(frozen=True, kw_only=True)
class Content:
    """What one group of readers gets of an issue. `topics` has an article's topic, by id of the article; `more` counts."""

    subject: str
    preview_text: str
    placed: Placed
    topics: Mapping[int, str]
    more: int


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A mail as a reader would see it, for a page: placeholders filled with an example."""

    subject: str
    html: str
    text: str


def issue_variant(
    session: Session, newsletter: Newsletter, issue: Issue, content: Content, language: str, *, now: datetime
) -> Variant:
    """Render what a group of readers gets of an issue, and store it. Raises TemplateInvalid or InliningFailed."""
    _check_fields(session, issue, content)
    nonce = message.new_nonce()
    pictures.keep_for_good(session, (article.image_url for article, _ in content.placed), now=now)
    context = issue_context(newsletter, issue, content, language, reader=_reader(nonce) | measures(newsletter), now=now)
    rendered = _render(MailKind.ISSUE, language, context)
    variant = Variant(
        newsletter_id=newsletter.id,
        issue_id=issue.id,
        kind=MailKind.ISSUE,
        language=language,
        digest=hashlib.sha256(rendered.html.encode()).digest(),
        nonce=nonce,
        headers=_list_headers(newsletter, nonce),
        subject=rendered.subject,
        html=rendered.html,
        text=rendered.text,
        tracks=_tracks(newsletter),
        created_at=now,
    )
    _prove(variant)
    session.add(variant)
    session.flush()
    _note_links(session, variant)
    return variant


def notice_variant(
    session: Session,
    newsletter: Newsletter,
    kind: MailKind,
    language: str,
    *,
    now: datetime,
    next_on: date | None = None,
) -> int:
    """Return the id of the variant of a confirmation or notice; rendered again only when what it is made of changed.

    `next_on` is the day of the reader's next issue, if it is to be told.
    """
    next_issue = i18n.format_date(language, next_on, "full") if next_on else None
    days = links.CONFIRM_LIFETIME.days
    context = {"newsletter": _newsletter(newsletter, language), "days": days, "next_issue": next_issue}
    made_of = rendering.fingerprint(kind.value, _folders())
    source = [__version__, kind.value, language, _sender_headers(newsletter), context, made_of]
    digest = hashlib.sha256(json.dumps(source, sort_keys=True, default=str).encode()).digest()
    same = select(Variant.id).where(Variant.digest == digest, Variant.issue_id.is_(None))
    found = session.execute(same).scalar_one_or_none()
    if found is not None:
        return found
    nonce = message.new_nonce()
    rendered = _render(kind, language, context | _noticed(kind, nonce))
    values = {
        "newsletter_id": newsletter.id,
        "kind": kind,
        "language": language,
        "digest": digest,
        "nonce": nonce,
        "headers": {**_sender_headers(newsletter), "Auto-Submitted": "auto-generated"},
        "subject": rendered.subject,
        "html": rendered.html,
        "text": rendered.text,
        "created_at": now,
    }
    session.execute(insert(Variant).values(**values).on_conflict_do_nothing())
    return session.execute(same).scalar_one()


def preview(newsletter: Newsletter, issue: Issue, content: Content, language: str, *, now: datetime) -> Preview:
    """Render an issue by the very path that mail takes, with an example reader filled in. Changes nothing."""
    reader = {
        "address": "lea@example.org",
        "since": i18n.format_date(language, now.date(), "long"),
        "preferences_url": links.url("/preferences"),
        "unsubscribe_url": links.url("/preferences"),
        **measures(newsletter),
        "name": EXAMPLE_NAME,
    }
    context = issue_context(newsletter, issue, content, language, reader=reader, now=now)
    rendered = _render(MailKind.ISSUE, language, context)
    return Preview(subject=rendered.subject, html=rendered.html, text=rendered.text)


def web_version(newsletter: Newsletter, issue: Issue, content: Content, *, now: datetime) -> str:
    """Render the public copy of an issue, which holds no reader's link: its footer invites to subscribe."""
    context = issue_context(newsletter, issue, content, newsletter.language, reader=None, now=now)
    return _render(MailKind.ISSUE, newsletter.language, context).html


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
    articles = [
        ({**_article(article, layout), "topic": content.topics.get(article.id)}, layout)
        for article, layout in content.placed
    ]
    local = (issue.started_at or issue.scheduled_at or now).astimezone(schedules.zone(newsletter.timezone))
    return {
        "newsletter": _newsletter(newsletter, language),
        "issue": {
            "title": merge.say(content.subject, reader),
            "number": issue.number,
            "date": local,
            "preview_text": merge.say(content.preview_text, reader),
            "introduction": merge.paragraphs(issue.introduction, reader, language),
            "signature": newsletter.signature,
            "web_url": links.url(f"/i/{issue.id}"),
        },
        "lead": next((article for article, layout in articles if layout == Layout.LEAD), None),
        "sections": _sections([article for article, layout in articles if layout == Layout.CARD]),
        "briefs": [article for article, layout in articles if layout == Layout.BRIEF],
        "more": {"url": newsletter.site_url, "count": content.more} if content.more else None,
        "corrections": [],
        "reader": reader,
    }


def _sections(cards: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Group cards by topic in order of first appearance; a topic with one card keeps its own section."""
    sections: dict[str, list[dict[str, object]]] = {}
    for card in cards:
        sections.setdefault(str(card["topic"] or ""), []).append(card)
    return [{"title": title, "articles": articles} for title, articles in sections.items()]


def _article(article: Article, layout: Layout) -> dict[str, object]:
    return {
        "title": article.title,
        "url": article.url,
        "excerpt": article.excerpt,
        "author": article.author,
        "minutes": article.minutes,
        "image": _image(article, layout),
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


def _newsletter(newsletter: Newsletter, language: str) -> dict[str, object]:
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


def _noticed(kind: MailKind, nonce: str) -> dict[str, object]:
    """Return the part of a notice that differs from reader to reader, as placeholders."""
    word = _CONFIRM_WORDS.get(kind, "confirm")
    return {
        "reader": _reader(nonce),
        "address": message.placeholder(nonce, "address"),
        "confirm_url": links.url(f"/{word}/{message.placeholder(nonce, 'confirm')}"),
    }


def _reader(nonce: str) -> dict[str, object]:
    slot = functools.partial(message.placeholder, nonce)
    return {
        "address": slot("address"),
        "since": slot("since"),
        "preferences_url": links.url(f"/p/{slot('preferences')}"),
        "unsubscribe_url": links.url(f"/u/{slot('unsubscribe')}"),
        **_NOTHING_MEASURED,
        "nonce": nonce,
    }


def measures(newsletter: Newsletter) -> dict[str, object]:
    """Return what a mail's footer says of what is counted: by switch, and whether anything is."""
    tracks = _tracks(newsletter)
    return {
        "is_tracked": bool(tracks),
        "counts_clicks": Tracked.CLICKS in tracks,
        "counts_opens": Tracked.OPENS in tracks,
        "follows_readers": Tracked.READERS in tracks,
    }


def _tracks(newsletter: Newsletter) -> list[str]:
    switches = {
        Tracked.CLICKS: newsletter.tracks_clicks,
        Tracked.OPENS: newsletter.tracks_opens,
        Tracked.READERS: newsletter.tracks_readers,
    }
    return [name.value for name, is_on in switches.items() if is_on]


def _note_links(session: Session, variant: Variant) -> None:
    """Write down the links that will be counted, by the numbers that they have in the mail."""
    if {Tracked.CLICKS, Tracked.READERS}.isdisjoint(variant.tracks):
        return
    urls = tracked.targets(variant.html)
    if urls:
        rows = [{"variant_id": variant.id, "number": number, "url": url} for number, url in enumerate(urls, start=1)]
        session.execute(insert(VariantLink), rows)


def _check_fields(session: Session, issue: Issue, content: Content) -> None:
    """Raise TemplateInvalid for a merge field that can't be filled for any reader, before anything is queued."""
    headlines = merge.names(content.subject) | merge.names(content.preview_text)
    if merge.PREFERENCES_LINK in headlines:
        raise rendering.TemplateInvalid("The link {preferences_link} can stand in the introduction only.")
    unknown = attributes.unknown(session, headlines | merge.names(issue.introduction))
    if unknown:
        known = ", ".join(attributes.in_use(session))
        raise rendering.TemplateInvalid(f"No reader has a value for the field {{{unknown[0]}}}. There are: {known}.")


def _sender_headers(newsletter: Newsletter) -> dict[str, str]:
    headers = {"From": message.mailbox(newsletter.sender_name, newsletter.sender_address, header="From")}
    if newsletter.reply_to:
        headers["Reply-To"] = f"<{newsletter.reply_to}>"
    return headers


def _list_headers(newsletter: Newsletter, nonce: str) -> dict[str, str]:
    one_click = links.url(f"/u/{message.placeholder(nonce, 'oneclick')}/one-click")
    domain = newsletter.sender_address.rpartition("@")[2]
    return {
        **_sender_headers(newsletter),
        # RFC 2919 2: stable for as long as the newsletter lives.
        "List-Id": f"<{newsletter.slug}.{domain}>",
        # RFC 8058 3.1; on a line of its own, since nothing may be folded inside the brackets.
        "List-Unsubscribe": f"\r\n <{one_click}>{_by_mail(nonce)}",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "Feedback-ID": f"{newsletter.id}:{newsletter.slug[:20]}:newsletter:mailer{newsletter.id:05d}"[:120],
    }


def _by_mail(nonce: str) -> str:
    """Return the second way to unsubscribe, for programs that know no other, if there is a mailbox that reads it."""
    box = settings.load().unsubscribe_mailbox
    if box is None:
        return ""
    name, _, domain = box.partition("@")
    return f",\r\n <mailto:{name}+{message.placeholder(nonce, 'mailbox')}@{domain}?subject=unsubscribe>"


def _prove(variant: Variant) -> None:
    """Encode a variant as workers will, so that what can't be encoded stops it before anything is queued."""
    try:
        message.compile_message(
            nonce=variant.nonce, headers=variant.headers, subject=variant.subject, text=variant.text, html=variant.html
        )
    except (KeyError, ValueError) as error:
        raise rendering.TemplateInvalid(f"The {variant.language} mail cannot be encoded: {error}") from error


def _render(kind: MailKind, language: str, context: Mapping[str, object]) -> rendering.Rendered:
    return sandbox.render(kind.value, language=language, context=context, folders=_folders())


def _folders() -> tuple[Path, ...]:
    folder = settings.load().templates_dir
    return (folder,) if folder else ()
