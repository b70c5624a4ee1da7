"""From rows to rendered mails: the plain values that templates see, and the variants they become."""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer import __version__, i18n, links, settings
from mailer.articles import pictures
from mailer.audience import attributes
from mailer.counting import tracked
from mailer.issues import contents, markdown
from mailer.issues.contents import Content
from mailer.mail import contexts, merge, message, rendering, sandbox
from mailer.models.content import Issue, MailKind, Newsletter, Variant
from mailer.models.tracking import Tracked, VariantLink

# The reader of a preview.
EXAMPLE_NAME: Final = "Léa Martin"
EXAMPLE_ADDRESS: Final = "lea@example.org"
# Mails that whoever fills in a form can have sent to somebody else.
_BY_FORM: Final = (MailKind.CONFIRM, MailKind.ALREADY, MailKind.MANAGE, MailKind.CHANGE_ADDRESS)
# Where the one link of a mail to a single reader leads, if not to the page that confirms a subscription.
_CONFIRM_WORDS: Final = {MailKind.MANAGE: "account", MailKind.CHANGE_ADDRESS: "address"}


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
    shown = [*(article.image_url for article, _ in content.placed), *content.images]
    pictures.keep_for_good(session, shown, now=now)
    reader = _reader(nonce) | contexts.measures(newsletter)
    context = contexts.issue_context(newsletter, issue, content, language, reader=reader, now=now)
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
        content=contents.pack(content),
        tracks=contexts.tracks(newsletter),
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
    context: dict[str, object] = {
        "newsletter": contexts.newsletter_values(newsletter, language),
        "days": links.CONFIRM_LIFETIME.days,
        "next_issue": i18n.format_date(language, next_on, "full") if next_on else None,
    }
    source = [
        __version__,
        kind.value,
        language,
        _notice_headers(newsletter, kind, nonce="0" * 12),
        context,
        rendering.fingerprint(kind.value, _folders()),
    ]
    digest = hashlib.sha256(json.dumps(source, sort_keys=True, default=str).encode()).digest()
    found = session.execute(
        select(Variant.id).where(Variant.digest == digest, Variant.issue_id.is_(None))
    ).scalar_one_or_none()
    if found is not None:
        return found
    session.execute(
        insert(Variant)
        .values(**_notice(newsletter, kind, language, context), digest=digest, created_at=now)
        .on_conflict_do_nothing()
    )
    return session.execute(select(Variant.id).where(Variant.digest == digest, Variant.issue_id.is_(None))).scalar_one()


def desk_variant(
    session: Session,
    newsletter: Newsletter,
    kind: MailKind,
    language: str,
    context: Mapping[str, object],
    *,
    now: datetime,
) -> int:
    """Render a mail to one address of the newsroom, store it, and return the variant's id.

    `link_url` leads to an invitation or a new password, once the mail leaves: the link is in no table.
    By the shipped templates: what tells that an operator's own are broken must not need them. Raises InliningFailed.
    """
    nonce = message.new_nonce()
    values = {
        **context,
        "newsletter": contexts.newsletter_values(newsletter, language),
        "link_url": links.url(f"/admin/link/{message.placeholder(nonce, 'confirm')}"),
    }
    rendered = sandbox.render(kind.value, language=language, context=values, folders=())
    variant = Variant(
        newsletter_id=newsletter.id,
        kind=kind,
        language=language,
        digest=hashlib.sha256(nonce.encode() + rendered.html.encode()).digest(),
        nonce=nonce,
        headers={**_sender_headers(newsletter), "Auto-Submitted": "auto-generated"},
        subject=rendered.subject,
        html=rendered.html,
        text=rendered.text,
        created_at=now,
    )
    session.add(variant)
    session.flush()
    return variant.id


def preview(
    newsletter: Newsletter,
    issue: Issue,
    content: Content,
    language: str,
    *,
    now: datetime,
    fields: Mapping[str, str] | None = None,
) -> Preview:
    """Render an issue by the very path that mail takes, with an example reader filled in. Changes nothing.

    `fields` are a reader's own values of merge fields, the name among them.
    """
    reader: dict[str, object] = {
        **(fields or {}),
        "address": EXAMPLE_ADDRESS,
        "since": i18n.format_date(language, now.date(), "long"),
        "preferences_url": links.url("/preferences"),
        "unsubscribe_url": links.url("/preferences"),
        **contexts.measures(newsletter),
        "name": EXAMPLE_NAME if fields is None else fields.get(merge.NAME),
    }
    context = contexts.issue_context(newsletter, issue, content, language, reader=reader, now=now)
    rendered = _render(MailKind.ISSUE, language, context)
    return Preview(subject=rendered.subject, html=rendered.html, text=rendered.text)


def notice_preview(newsletter: Newsletter, kind: MailKind, language: str) -> Preview:
    """Render a mail that is no issue by the very path that it takes, with an example reader filled in. Changes nothing."""
    context = {
        "newsletter": contexts.newsletter_values(newsletter, language),
        "days": links.CONFIRM_LIFETIME.days,
        "next_issue": None,
        "reader": {
            "address": EXAMPLE_ADDRESS,
            "preferences_url": links.url("/preferences"),
            "unsubscribe_url": links.url("/preferences"),
        },
        "address": EXAMPLE_ADDRESS,
        "confirm_url": links.url("/preferences"),
    }
    rendered = _render(kind, language, context)
    return Preview(subject=rendered.subject, html=rendered.html, text=rendered.text)


def web_version(newsletter: Newsletter, issue: Issue, content: Content, *, now: datetime) -> str:
    """Render the public copy of an issue, which holds no reader's link: its footer invites to subscribe."""
    context = contexts.issue_context(newsletter, issue, content, newsletter.language, reader=None, now=now)
    return _render(MailKind.ISSUE, newsletter.language, context).html


def _notice(newsletter: Newsletter, kind: MailKind, language: str, context: Mapping[str, object]) -> dict[str, object]:
    """Render a mail that is no issue; return its columns."""
    nonce = message.new_nonce()
    rendered = _render(kind, language, {**context, **_noticed(kind, nonce)})
    return {
        "newsletter_id": newsletter.id,
        "kind": kind,
        "language": language,
        "nonce": nonce,
        "headers": _notice_headers(newsletter, kind, nonce=nonce),
        "subject": rendered.subject,
        "html": rendered.html,
        "text": rendered.text,
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
        **contexts.NOTHING_MEASURED,
        "nonce": nonce,
    }


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
    in_body = markdown.fields(markdown.parse(issue.body)) if issue.body is not None else frozenset()
    unknown = attributes.unknown(session, headlines | in_body | merge.names(issue.introduction))
    if unknown:
        known = ", ".join(attributes.in_use(session))
        raise rendering.TemplateInvalid(f"No reader has a value for the field {{{unknown[0]}}}. There are: {known}.")


def _sender_headers(newsletter: Newsletter) -> dict[str, str]:
    headers = {"From": message.mailbox(newsletter.sender_name, newsletter.sender_address, header="From")}
    if newsletter.reply_to:
        headers["Reply-To"] = f"<{newsletter.reply_to}>"
    return headers


def _notice_headers(newsletter: Newsletter, kind: MailKind, *, nonce: str) -> dict[str, str]:
    headers = {**_sender_headers(newsletter), "Auto-Submitted": "auto-generated"}
    if kind in _BY_FORM:
        # draft-levine-mailbomb-header: mail servers find floods of such mails by it.
        headers["Form-Sub"] = f"v=1{message.placeholder(nonce, 'network')}"
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
