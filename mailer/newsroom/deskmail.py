"""Mails to the newsroom: what alerts.py noted becomes a variant and a delivery, and leaves as every mail does."""

from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer import i18n, links
from mailer.delivery import deliveries, remedies
from mailer.issues import findings, gate, issues, schedules
from mailer.links import Purpose
from mailer.mail import mails
from mailer.models.content import Issue, MailKind, Newsletter, PauseReason
from mailer.models.desk import DeskEvent, DeskMail, OnSilence, ReviewAct, SlotCode
from mailer.newsroom import alerts, desk_words, newsletters, reasons, slot_words

PURPOSES: Final = {
    ReviewAct.SEND: Purpose.REVIEW_SEND,
    ReviewAct.HOLD: Purpose.REVIEW_HOLD,
    ReviewAct.DROP: Purpose.REVIEW_DROP,
}


class LinkDead(Exception):
    """The mail that the link stood in is gone, or its address is none of the newsroom any more."""


def waiting(session: Session, *, limit: int) -> list[int]:
    """List the ids of mails that are not queued yet, in order."""
    statement = select(DeskMail.id).where(DeskMail.delivery_id.is_(None)).order_by(DeskMail.id).limit(limit)
    return list(session.execute(statement).scalars())


def queue_mail(session: Session, mail_id: int, *, now: datetime) -> bool:
    """Render a mail and queue its delivery. False if somebody else does, or did.

    Raises TemplateInvalid or InliningFailed.
    """
    free = select(DeskMail).where(DeskMail.id == mail_id, DeskMail.delivery_id.is_(None))
    mail = session.execute(free.with_for_update(skip_locked=True)).scalar_one_or_none()
    if mail is None:
        return False
    newsletter = session.get_one(Newsletter, mail.newsletter_id)
    language = i18n.choose(newsletter.language, among=i18n.DESK_LANGUAGES)
    issue = issues.get(session, mail.issue_id) if mail.issue_id is not None else None
    if mail.event == DeskEvent.REVIEW and issue is not None:
        kind, context = MailKind.REVIEW, _review(session, mail, newsletter, issue)
    else:
        kind, context = MailKind.ALERT, _alert(mail, newsletter, issue, language)
    variant_id = mails.desk_variant(session, newsletter, kind, language, {**context, "address": mail.address}, now=now)
    mail.delivery_id = deliveries.queue_one(session, address=mail.address, variant_id=variant_id, now=now)
    session.flush()
    return True


def read_link(session: Session, act: ReviewAct, token: str) -> DeskMail:
    """Return the mail that a link of `act` stood in; its issue is there. Raises TokenInvalid or LinkDead."""
    link = links.read(PURPOSES[act], token)
    mail = session.get(DeskMail, link.id)
    if mail is None or mail.issue_id is None or mail.issue_id % 2**32 != link.extra:
        raise LinkDead("There is no such mail.")
    if mail.address not in session.get_one(Newsletter, mail.newsletter_id).desk_addresses:
        raise LinkDead("This address is none of the newsroom any more.")
    return mail


def act_path(mail: DeskMail, act: ReviewAct) -> str:
    """Return the path of the page where this mail's address does `act`. Needs the mail's issue."""
    return f"/review/{act}/{links.sign(PURPOSES[act], mail.id, (mail.issue_id or 0) % 2**32)}"


def _review(session: Session, mail: DeskMail, newsletter: Newsletter, issue: Issue) -> dict[str, object]:
    return {
        "issue": {"subject": issue.subject, "preview_text": issue.preview_text},
        "slot": _local(newsletter, mail.values["slot"]),
        "leaves_on_silence": newsletter.on_silence == OnSilence.SEND,
        "recipients": newsletters.count_readers(session, newsletter.id),
        "titles": [{"title": article.title, "url": article.url} for article, _ in issues.placed(session, issue.id)],
        "links": {act.value: links.url(act_path(mail, act)) for act in ReviewAct},
        "page_url": links.url(f"/admin/issues/{issue.id}"),
    }


def _alert(mail: DeskMail, newsletter: Newsletter, issue: Issue | None, language: str) -> dict[str, object]:
    words = desk_words.WORDS[mail.event]
    lines, why, quoted = _told(mail, newsletter, issue, language)
    if alerts.LAST in mail.values:
        lines = [*lines, i18n.gettext(language, desk_words.GAVE_UP)]
    path = f"/admin/issues/{issue.id}" if issue is not None else f"/admin/newsletters/{newsletter.slug}"
    label = desk_words.OPEN_ISSUE if issue is not None else desk_words.OPEN_NEWSLETTER
    # A link is no second person's consent.
    may_answer = mail.event == DeskEvent.ISSUE_HELD and mail.values["code"] != SlotCode.NOT_APPROVED
    offered = (ReviewAct.SEND, ReviewAct.DROP) if may_answer else ()
    return {
        "title": i18n.gettext(language, words.title),
        "about": issue.subject if issue is not None else newsletter.name,
        "lines": [i18n.gettext(language, words.means), *lines],
        "reasons": why,
        "quoted": quoted,
        "page_url": links.url(path),
        "page_label": i18n.gettext(language, label),
        "acts": [
            {"label": i18n.gettext(language, desk_words.ACTS[act]), "url": links.url(act_path(mail, act))}
            for act in offered
        ],
    }


def _told(
    mail: DeskMail, newsletter: Newsletter, issue: Issue | None, language: str
) -> tuple[list[str], list[str], str]:
    """Return what is known of an event: sentences, reasons for a list, and the words of a server or template."""
    values = mail.values
    if mail.event == DeskEvent.CHECKS_HELD and issue is not None:
        remedy = remedies.EXPLANATIONS[PauseReason.CHECKS_FAILED].remedy
        found = findings.blocking(gate.of_issue(issue))
        why = [i18n.gettext(language, findings.SENTENCES[one.code], **one.values) for one in found]
        # A stretch of the mail may be quoted, with its line ends.
        return [i18n.gettext(language, remedy)], list(dict.fromkeys(" ".join(one.split("\n")) for one in why)), ""
    if mail.event == DeskEvent.ISSUE_HELD:
        sentence = slot_words.SENTENCES[SlotCode(values["code"])]
        why_held = i18n.gettext(language, sentence, **values)
        return [f"{why_held[:1].upper()}{why_held[1:]}."], [], ""
    if mail.event in (DeskEvent.ISSUE_PAUSED, DeskEvent.ISSUE_FAILED):
        known = remedies.EXPLANATIONS[PauseReason(values["code"])]
        said = [i18n.gettext(language, one) for one in (known.happened, known.remedy)]
        return said, [], reasons.say(language, values["words"])
    if mail.event == DeskEvent.FEED_SILENT:
        day = i18n.format_date(language, _local(newsletter, values["since"]))
        named = {"title": values["title"], "url": values["url"], "day": day}
        return [i18n.gettext(language, desk_words.FEED, **named)], [], ""
    if mail.event == DeskEvent.WEBHOOK_OFF:
        sentence = desk_words.WEBHOOK_GONE if values["because"] == "gone" else desk_words.WEBHOOK_FAILING
        named = {"url": values["url"]}
        return [i18n.gettext(language, sentence, **named)], [], ""
    if mail.event == DeskEvent.BLOCKED:
        refused = {"number": values["number"]}
        return [i18n.gettext(language, desk_words.REFUSED, **refused)], [], values["words"]
    if mail.event == DeskEvent.COMPLAINTS:
        counted = {name: i18n.format_number(language, int(values[name])) for name in ("number", "accepted")}
        return [i18n.gettext(language, desk_words.COMPLAINED, **counted)], [], ""
    moment = _moment(language, _local(newsletter, values["slot"]))
    due = i18n.gettext(language, desk_words.SLOT, moment=moment)
    return [due], [], reasons.say(language, values.get("reason", ""))


def _local(newsletter: Newsletter, moment: str) -> datetime:
    return datetime.fromisoformat(moment).astimezone(schedules.zone(newsletter.timezone))


def _moment(language: str, local: datetime) -> str:
    return f"{i18n.format_date(language, local, 'full')}, {i18n.format_time(language, local)}"
