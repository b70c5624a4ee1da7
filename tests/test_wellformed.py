"""Every kind of mail in every language, as a real server takes it with DKIM keys set; and that the rules can be broken."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer import clock
from mailer.articles import intake, pictures, shrinking, topics
from mailer.audience import signups, subscriptions
from mailer.db import transaction
from mailer.delivery import sending
from mailer.embedded import sample, site_feed
from mailer.feeds import parse
from mailer.i18n import DESK_LANGUAGES, LANGUAGES
from mailer.issues import amending, handwriting, issues
from mailer.models.content import Article, Issue, Newsletter, PauseReason
from mailer.models.pictures import Picture
from mailer.newsroom import alerts, newsletters
from tests import wire
from tests.conftest import DkimKeys, Received, SmtpInbox
from tests.factories import a_newsletter, a_signup, an_article, the_feed
from tests.newsroom import a_scheduled_newsletter, tick, to_desk
from tests.told import told
from tests.wire import Sent

SITE = "https://courrier.example"
ODD_TITLES = (
    "🐎 Kok-boru : « la finale » 💧 l’emporte… &amp; <b>gras</b>",
    "أخبار آسيا الوسطى: الماء يعود إلى الواجهة",
    "Қазақ киносы: Алматыдағы фестивальде көретін үш фильм",
    "]]> {name} {preferences_link|ici} =?utf-8?q?x?=",
    "W" * 300,
    "Le mot le plus long de toute la langue " * 7,
    ".",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
)
CORRECTION = "Le fleuve a 2\u00a0212 kilomètres, et non 221."
BY_HAND = """
# Bonjour {name|à vous}

Un *texte* écrit **à la main**, avec [un lien](https://courrier.example/a?b=1&c=2) et `du code`, ]]> et & et < compris.

> une citation

1. un
2. deux

---

    préformaté {name}

<script>alert(1)</script><b onclick=x>gras</b>
"""


def test_every_mail_that_leaves_keeps_every_rule(installation: SmtpInbox, dkim_keys: DkimKeys) -> None:
    sent = every_mail(installation)
    assert {name: found for name, one in sent.items() if (found := wire.faults(one, dkim_keys))} == {}
    assert len(sent) == len(LANGUAGES) * 8
    assert len({one.header("message-id") for one in sent.values()}) == len(sent)


def test_pictures_topics_and_marks_are_in_the_mails_they_belong_to(installation: SmtpInbox) -> None:
    sent = every_mail(installation)
    assert html(sent["sample, all, fr"]).count("<img") > 6
    assert "<img" not in html(sent["odd, all, fr"])
    assert "Société" not in html(sent["sample, topic, fr"])
    assert "Réservé aux abonnés" in html(sent["odd, all, fr"])
    assert "По платной подписке" in html(sent["odd, all, ru"])
    assert CORRECTION in html(sent["odd, all, kk"])
    assert "une citation" in html(sent["hand, topic, en"])


@pytest.mark.parametrize("language", DESK_LANGUAGES)
def test_mails_to_the_newsroom_keep_the_rules_too(installation: SmtpInbox, dkim_keys: DkimKeys, language: str) -> None:
    a_scheduled_newsletter(slot_in=timedelta(hours=1), review_hours=3, language=language)
    tick()
    with transaction() as session:
        issue = issues.get(session, session.execute(select(Issue.id)).scalar_one())
        alerts.note_stop(session, issue, PauseReason.BLOCKED, "554 5.7.1 no ]]> <b>", now=clock.now())
    tick()
    to_desk(installation)
    sent = [
        Sent(content=one.content, envelope_from=one.envelope_from, recipient=one.recipients[0], is_bulk=False)
        for one in installation.messages
    ]
    assert [wire.faults(one, dkim_keys) for one in sent] == [[], []]


BREAKS = {
    "a bare CR or LF": (b"\r\n\r\n--=_", b"\r\n\n--=_"),
    "a NUL": (b"Bonjour", b"Bonj\0ur"),
    "more than 998": (b"Bonjour", b"Bonjour " * 130),
    "above 127": (b"Bonjour", "Bonjour à tous".encode()),
    "subject 0 times": (b"Subject:", b"X-Subject:"),
    "subject 2 times": (b"Subject:", b"Subject: x\r\nSubject:"),
    "reply-to 2 times": (b"Subject:", b"Reply-To: <a@b.example>\r\nReply-To: <a@b.example>\r\nSubject:"),
    "bcc is not for us": (b"Subject:", b"Bcc: <a@b.example>\r\nSubject:"),
    "could be folded": (b"Feedback-ID:", b"X-Long: " + b"word " * 20 + b"\r\nFeedback-ID:"),
    "an empty line": (b"Feedback-ID:", b"X-Odd: a\r\n \r\n b\r\nFeedback-ID:"),
    "one of 93 characters": (b"Subject: ", b"Subject: =?utf-8?q?" + b"a" * 81 + b"?=\r\n "),
    "a character cut in two": (b"Subject: ", b"Subject: =?utf-8?b?w6nD?=\r\n "),
    "no space before one": (b"Subject: ", b"Subject: =?utf-8?q?a?==?utf-8?q?b?=\r\n "),
    "one where none is read": (b"List-Id: <", b"List-Id: =?utf-8?q?Courrier?= <"),
    "From is not one address": (b"<lettre@courrier.example>", b"<lettre@courrier.example>, <b@c.example>"),
    "domain in ASCII": (b"<lettre@courrier.example>", b"<lettre@=?utf-8?q?caf=C3=A9?=.example>"),
    "Message-ID is not": (b"Message-ID: <", b"Message-ID: <a b"),
    "the private host": (b"@courrier.example>\r\n", b"@mailer.local>\r\n"),
    "Date has no zone": (b" +0000\r\n", b" -0000\r\n"),
    "Subject is empty": (b"Subject: ", b"Subject: =?utf-8?q?=00?=\r\n "),
    "To is not the one recipient": (b"To: <", b"To: <b@example.org>, <"),
    "address is in a link": (b"Bonjour", b"https://x.example/all-fr@example.org"),
    "not text before HTML": (b"text/plain", b"text/richtext"),
    "encoded as 8bit": (b"Encoding: quoted-printable", b"Encoding: 8bit"),
    "in iso-8859-1": (b'charset=3D"utf-8"'.replace(b"=3D", b"="), b'charset="iso-8859-1"'),
    "HTML of more than 60 KB": (b"Bonjour", b"Bonjour " * 8 + b"=\r\n" + (b"Bonjour " * 8 + b"=\r\n") * 1000),
    "without https": (b'href=3D"https', b'href=3D"http'),
    "html_forbidden": (b"</body>", b"<script>x()</script></body>"),
    "is not <…>, <…>": (b"List-Unsubscribe: \r\n <", b"List-Unsubscribe: \r\n x <"),
    "not one https address": (b"List-Unsubscribe: \r\n <https", b"List-Unsubscribe: \r\n <http"),
    "what RFC 8058 says": (b"List-Unsubscribe=One-Click", b"ListUnsubscribe=One-Click"),
    "List-Id is not": (b"List-Id: <courrier.courrier.example>", b"List-Id: <courrier>"),
    "Feedback-ID is not": (b"Feedback-ID: ", b"Feedback-ID: a:b:c:"),
    "is for answers": (b"Feedback-ID:", b"Auto-Submitted: auto-generated\r\nFeedback-ID:"),
    "no link to unsubscribe in text/html": (b"/u/", b"/y/"),
    "no link to the web version in text/html": (b"/i/1", b"/y/1"),
}


def test_each_rule_finds_what_breaks_it(installation: SmtpInbox) -> None:
    good = an_issue(installation)
    assert wire.faults(good) == []
    missed = []
    for rule, (old, new) in BREAKS.items():
        broken = replace(good, content=good.content.replace(old, new))
        missed += [rule] if not any(rule in one for one in wire.faults(broken)) else []
    assert missed == []


def test_a_signature_that_covers_less_is_found(installation: SmtpInbox, dkim_keys: DkimKeys) -> None:
    good = an_issue(installation)
    assert wire.faults(good, dkim_keys) == []
    for old, new, rule in [
        (b"Bonjour", b"Bonsoir", "does not verify"),
        (b"subject:", b"object:", "['subject'] not signed"),
        (b":from:", b":x-from:", "another From could be added"),
        (b"c=relaxed/relaxed", b"c=relaxed/relaxed; l=100", "signs a length"),
        (b"d=courrier.example", b"d=other.example", "of the domain other.example"),
    ]:
        assert old in good.content, rule
        broken = replace(good, content=good.content.replace(old, new))
        assert [one for one in wire.faults(broken, dkim_keys) if rule in one], rule


def test_a_notice_is_no_newsletter(installation: SmtpInbox) -> None:
    good = an_issue(installation)
    found = wire.faults(replace(good, is_bulk=False))
    assert [one for one in found if one.startswith("of_notice: ")] == [
        "of_notice: Auto-Submitted is not auto-generated",
        "of_notice: a header of lists",
    ]


def an_issue(inbox: SmtpInbox) -> Sent:
    with transaction() as session:
        newsletter = a_newsletter(session)
        add(session, newsletter, "all-fr@example.org", "fr")
        an_article(session, newsletter, "eau", seen=clock.now() - timedelta(minutes=1))
    ((_, sent),) = named("issue", send_issue(inbox))
    return sent


def every_mail(inbox: SmtpInbox) -> dict[str, Sent]:
    """Send the sample publication's issue, one of oddities, confirmations and notices; in each language, by topics too."""
    with transaction() as session:
        newsletter = a_newsletter(session)
        topics.put(session, newsletter, "politique", names={"fr": "Politique"}, rules={"categories": ["Politique"]})
        topics.put(session, newsletter, "societe", names={"fr": "Société"}, rules={"categories": ["Société"]})
        for language in LANGUAGES:
            for kind in ("all", "topic"):
                row = add(session, newsletter, f"{kind}-{language}@example.org", language)
                row.topics = ["politique"] if kind == "topic" else []
        store_sample(session, newsletter)
    sent = dict(named("sample", send_issue(inbox)))
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        water = select(Article.id).where(Article.guid.contains("eau-syr-daria"))
        amending.correct(session, session.execute(water).scalar_one(), CORRECTION, by="Camille", now=clock.now())
        store_odd(session, newsletter)
    sent |= dict(named("odd", send_issue(inbox)))
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        handwriting.draft(session, newsletter, handwriting.Draft(subject="À la main", body=BY_HAND), now=clock.now())
    sent |= dict(named("hand", send_issue(inbox, is_drafted=True)))
    return sent | dict(named("notice", send_notices(inbox), is_bulk=False))


def add(session: Session, newsletter: Newsletter, address: str, language: str) -> subscriptions.Subscription:
    return subscriptions.add(session, newsletter, address, language=language, proof="test", now=clock.now())


def named(what: str, received: list[Received], *, is_bulk: bool = True) -> Iterator[tuple[str, Sent]]:
    for one in received:
        (recipient,) = one.recipients
        kind, _, language = recipient.partition("@")[0].partition("-")
        sent = Sent(content=one.content, envelope_from=one.envelope_from, recipient=recipient, is_bulk=is_bulk)
        yield f"{what}, {kind}, {language}", sent


def store_sample(session: Session, newsletter: Newsletter) -> None:
    """Let the newsletter's feed tell what the sample's does, with its pictures made."""
    now = clock.now() - timedelta(minutes=1)
    addresses = site_feed.Addresses(base_url=SITE, subscribe_url="https://lettre.example/courrier")
    articles = sample.articles(started_at=now, later_at=None)
    feed = site_feed.write(articles, sample.publication(), addresses, path="/feed.xml")
    parsed = parse.parse(feed, content_type=None, url=f"{SITE}/feed.xml")
    intake.store(session, the_feed(session, newsletter).id, parsed.articles, is_whole=True, now=now)
    pictures.take_for_newsletter(session, newsletter.id, since=now - timedelta(days=1), now=now)
    for picture in session.execute(select(Picture)).scalars():
        pictures.keep(session, picture.id, made_of(picture.url), now=now)


def made_of(url: str) -> shrinking.Shrunk:
    """Files as they would come out for a picture of 1200 × 675, but not made small."""
    content = (sample.PICTURES / url.rpartition("/")[2]).read_bytes()
    sizes = {"lead": (1104, 621), "card": (240, 135)}
    files = [shrinking.File(use=use, width=x, height=y, kind="jpg", content=content) for use, (x, y) in sizes.items()]
    return shrinking.Shrunk(digest=f"{len(content):032x}", files=tuple(files))


def store_odd(session: Session, newsletter: Newsletter) -> None:
    """Let it tell articles such as nobody hopes for, without pictures, some for paying readers."""
    now = clock.now()
    odd = [
        told(
            f"odd-{number}",
            title=title,
            published=odd_moment(number, now),
            excerpt=f"{title} {title[::-1]}"[:300],
            topics=("Politique",) if number % 2 else ("Société",),
            author="Ünal “Ö” <o@x.example>",
            is_locked=number % 3 == 0,
        )
        for number, title in enumerate(ODD_TITLES)
    ]
    intake.store(session, the_feed(session, newsletter).id, odd, is_whole=False, now=now)


def odd_moment(number: int, now: datetime) -> datetime | None:
    return now - timedelta(hours=number) if number % 2 else None


def send_issue(inbox: SmtpInbox, *, is_drafted: bool = False) -> list[Received]:
    inbox.messages.clear()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        (latest,) = issues.latest(session, newsletter.id, limit=1) if is_drafted else [None]
        issue = issues.get(session, latest.id) if latest else issues.draft(session, newsletter, now=clock.now())
        issues.start(session, issue, batch_size=100, now=clock.now())
    sending.send_due(budget_seconds=20)
    return list(inbox.messages)


def send_notices(inbox: SmtpInbox) -> list[Received]:
    inbox.messages.clear()
    for kind in ("new", "all"):
        for language in LANGUAGES:
            with transaction() as session:
                newsletter, now = newsletters.get(session, "courrier"), clock.now()
                request = a_signup(session, newsletter, f"{kind}-{language}@example.org", language=language, now=now)
                signups.handle(session, request, now=now)
    sending.send_due(budget_seconds=20)
    return list(inbox.messages)


def html(sent: Sent) -> str:
    body = sent.email.get_body(("html",))
    assert body is not None
    return str(body.get_content())
