"""The second address of List-Unsubscribe: a mailbox, for programs that know no other way (RFC 2369)."""

import re

import pytest

from mailer import clock, links
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import issues
from mailer.links import Purpose
from tests.conftest import SmtpInbox, forget
from tests.factories import NOW, a_newsletter, an_article, readers

ONE_CLICK = r"<https://lettre\.example/u/([\w=-]{40})/one-click>"


def header(inbox: SmtpInbox) -> str:
    """The header of an issue as it arrived."""
    with transaction() as session:
        newsletter = a_newsletter(session)
        an_article(session, newsletter, "eau", seen=NOW)
        readers(session, newsletter, 1)
        issue = issues.draft(session, newsletter, now=clock.now())
        issues.start(session, issue, batch_size=10, now=clock.now())
    sending.send_due(budget_seconds=5)
    (mail,) = inbox.raw
    (found,) = re.findall(rb"\r\nList-Unsubscribe:((?:\s+<[^>]*>,?)+)\r\n", mail)
    return found.decode()


def test_without_a_mailbox_there_is_one_address(installation: SmtpInbox) -> None:
    assert re.fullmatch(rf"\s+{ONE_CLICK}", header(installation))


def test_the_mailboxs_address_holds_the_same_token(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_UNSUBSCRIBE_MAILBOX", "unsubscribe@lettre.example")
    forget()
    by_mail = r"<mailto:(unsubscribe\+([a-z2-7]{48}))@lettre\.example\?subject=unsubscribe>"
    match = re.fullmatch(rf"\s+{ONE_CLICK},\s+{by_mail}", header(installation))
    assert match
    assert links.from_mailbox(match[3]) == match[1]
    assert links.read(Purpose.ONE_CLICK, match[1]).id == 1
    assert len(match[2]) <= 64


@pytest.mark.parametrize(
    "value", ["unsubscribe", "a-name-that-is-too-long@lettre.example", "a b@lettre.example", "a@b"]
)
def test_a_mailbox_that_leaves_no_room_for_the_token_is_refused(environment: None, value: str) -> None:
    from_settings = pytest.raises(Exception, match="MAILER_UNSUBSCRIBE_MAILBOX must be a plain address")
    with from_settings, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAILER_UNSUBSCRIBE_MAILBOX", value)
        links.settings.load()
