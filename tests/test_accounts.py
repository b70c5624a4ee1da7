"""Who gets in, and how often a link works."""

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from mailer.newsroom import accounts, newsletters
from tests.factories import NOW, a_newsletter

PASSWORD = "une phrase assez longue"
pytestmark = pytest.mark.usefixtures("environment")


def camille(session: Session) -> accounts.Account:
    return accounts.create(
        session, "Camille@courrier.example", name="Camille", password=PASSWORD, language="fr", now=NOW
    )


def test_the_right_password_opens_and_a_wrong_one_does_not(session: Session) -> None:
    account = camille(session)
    assert accounts.authenticate(session, "camille@courrier.example", PASSWORD) is account
    assert accounts.authenticate(session, "camille@courrier.example", "wrong") is None
    assert accounts.authenticate(session, "nobody@courrier.example", PASSWORD) is None


def test_a_sign_in_link_works_once(session: Session) -> None:
    account = camille(session)
    assert accounts.of_link(session, account.id, made_at=NOW) is account
    accounts.open_session(session, account.id, now=NOW + timedelta(minutes=1))
    session.expire_all()
    assert accounts.of_link(session, account.id, made_at=NOW) is None
    assert accounts.of_link(session, account.id, made_at=NOW + timedelta(minutes=2)) is not None


def test_a_disabled_account_loses_links_and_sessions(session: Session) -> None:
    account = camille(session)
    token = accounts.open_session(session, account.id, now=NOW)
    assert accounts.of_session(session, token, now=NOW) is account
    account.disabled_at = NOW
    assert accounts.of_session(session, token, now=NOW) is None
    assert accounts.of_link(session, account.id, made_at=NOW + timedelta(minutes=2)) is None


def test_a_session_ends_in_time_and_when_it_is_closed(session: Session) -> None:
    account = camille(session)
    token = accounts.open_session(session, account.id, now=NOW)
    assert accounts.of_session(session, token, now=NOW + accounts.SESSION_LIFETIME) is None
    accounts.close_session(session, token)
    assert accounts.of_session(session, token, now=NOW) is None


def test_a_short_password_is_refused(session: Session) -> None:
    with pytest.raises(accounts.AccountInvalid, match="12 characters"):
        accounts.create(session, "x@courrier.example", name="X", password="short", language="fr", now=NOW)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"min_articles": 13}, "no issue could ever be made"),
        ({"max_articles": 0}, "max_articles must be from 1"),
        ({"site_url": "javascript:alert(1)"}, "site_url"),
        ({"sender_address": "nobody"}, "sender_address"),
        ({"language": "xx"}, "xx"),
        ({"brand_color": "red"}, "brand_color"),
        ({"name": " "}, "name must be"),
        ({"odd": 1}, "odd"),
    ],
)
def test_a_newsletter_refuses_what_could_not_be_sent(session: Session, values: dict[str, object], words: str) -> None:
    newsletter = a_newsletter(session)
    with pytest.raises(newsletters.NewsletterInvalid, match=words):
        newsletters.edit(session, newsletter, values=values, now=NOW)
