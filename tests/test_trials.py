"""Test mails: by the real path, with the server's answer, outside of the ledger."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from mailer import clock, links, settings
from mailer.articles import topics
from mailer.db import transaction
from mailer.issues import issues, readings, trials
from mailer.models.content import Variant
from mailer.models.deliveries import Delivery
from mailer.models.trials import TrialVerdict
from tests.command import mailer
from tests.conftest import DkimKeys, SmtpInbox
from tests.desk import drafted
from tests.factories import a_newsletter, an_article, readers
from tests.smtp_server import scripted_server


@pytest.fixture
def draft_id(installation: SmtpInbox) -> int:
    with transaction() as session:
        a_newsletter(session)
    return drafted()


def send(issue_id: int, *addresses: str, as_reader: str | None = None):
    return trials.send(issue_id, addresses, as_reader=as_reader, by="Camille", now=clock.now())


def test_a_test_is_the_signed_mail_with_test_before_its_subject(
    draft_id: int, installation: SmtpInbox, dkim_keys: DkimKeys
):
    (told,) = send(draft_id, "camille@courrier.example")
    (mail,) = installation.messages
    assert (told.verdict, told.server) == (TrialVerdict.ACCEPTED, "127.0.0.1")
    assert told.reply.startswith("250")
    assert 0 < told.seconds < 10
    assert mail.email["Subject"] == "[Test] Le titre de eau"
    assert mail.email["To"] == "camille@courrier.example"
    assert len(mail.email.get_all("DKIM-Signature")) == len(dkim_keys)


def test_a_test_leaves_no_trace_in_the_ledger(draft_id: int):
    send(draft_id, "camille@courrier.example")
    with transaction() as session:
        for table in (Variant, Delivery):
            assert session.execute(select(func.count()).select_from(table)).scalar_one() == 0


def test_the_links_of_a_test_belong_to_no_reader(draft_id: int, installation: SmtpInbox):
    send(draft_id, "camille@courrier.example")
    header = installation.messages[0].email["List-Unsubscribe"]
    token = re.search(r"/u/([^/>]+)/one-click", header)
    assert token is not None
    assert links.read(links.Purpose.ONE_CLICK, token[1]).id == readings.NOBODY


def test_two_tests_do_not_hide_each_other(draft_id: int, installation: SmtpInbox):
    send(draft_id, "camille@courrier.example")
    send(draft_id, "camille@courrier.example")
    assert len({one.email["Message-ID"] for one in installation.messages}) == 2


def test_as_a_reader_it_has_their_language_and_topics(installation: SmtpInbox):
    now = clock.now()
    with transaction() as session:
        newsletter = a_newsletter(session)
        from_eau = an_article(session, newsletter, "eau", seen=now - timedelta(minutes=2), topics=["Eau"])
        an_article(session, newsletter, "train", seen=now - timedelta(minutes=1), topics=["Rail"])
        topics.put(session, newsletter, "eau", names={"fr": "L’eau"}, rules={"categories": ["Eau"]})
        (reader, *_) = readers(session, newsletter, 1)
        reader.language, reader.topics = "ru", ["eau"]
        issue_id = issues.draft(session, newsletter, now=now).id
        address = session.get_one(readings.Subscriber, reader.subscriber_id).address
    send(issue_id, "camille@courrier.example", as_reader=address)
    text = installation.messages[0].email.get_body(("plain",)).get_content()
    assert from_eau.title in text
    assert "Le titre de train" not in text
    assert "Отписаться" in text


def test_an_address_the_server_refuses_is_told_in_its_words(draft_id: int, monkeypatch: pytest.MonkeyPatch):
    def refuse(stage: str, _argument: str) -> str | None:
        return "550 5.1.1 no such user here" if stage == "RCPT" else None

    with scripted_server(refuse) as server:
        monkeypatch.setenv("MAILER_SMTP_URL", server.url)
        settings.load.cache_clear()
        (told,) = send(draft_id, "nobody@courrier.example")
    assert (told.verdict, told.reply) == (TrialVerdict.REFUSED, "550 5.1.1 no such user here")


def test_a_server_that_is_away_is_named(draft_id: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAILER_SMTP_URL", "smtp://127.0.0.1:1")
    settings.load.cache_clear()
    (told,) = send(draft_id, "camille@courrier.example")
    assert told.verdict == TrialVerdict.WAITING
    assert "127.0.0.1:1" in told.reply


@pytest.mark.parametrize("wanted", [[], ["no address"], [f"a{n}@b.example" for n in range(6)]])
def test_what_is_no_list_of_one_to_five_addresses_sends_nothing(
    draft_id: int, installation: SmtpInbox, wanted: list[str]
):
    with pytest.raises(trials.TrialInvalid):
        send(draft_id, *wanted)
    assert installation.messages == []


def test_more_tests_than_may_leave_in_an_hour_are_refused(draft_id: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAILER_TESTS_PER_HOUR", "2")
    settings.load.cache_clear()
    send(draft_id, "a@courrier.example", "b@courrier.example")
    with pytest.raises(trials.TrialLimitReached):
        send(draft_id, "a@courrier.example")


def test_the_command_shows_what_the_server_answered(draft_id: int, installation: SmtpInbox):
    ran = mailer("issue", "test", str(draft_id), "camille@courrier.example", "--json")
    assert ran.code == 0
    (told,) = ran.value
    assert told["verdict"] == "accepted"
    assert len(installation.messages) == 1
