"""`mailer user …`: accounts from the command line, and what the audit log says of it."""

import re

import pytest
from sqlalchemy import select

from mailer import clock
from mailer.db import transaction
from mailer.models.audit import AuditEntry
from mailer.newsroom import account_links, accounts
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter

CAMILLE, PAUL = "camille@courrier.example", "paul@courrier.example"


@pytest.fixture
def owner(installation: SmtpInbox) -> None:
    with transaction() as session:
        a_newsletter(session)
    assert mailer("user", "add", CAMILLE, "--name", "Camille").code == 0


def listed() -> dict[str, dict[str, object]]:
    return {one["email"]: one for one in mailer("user", "list", "--json").value}


def test_an_invitation_is_a_link_that_opens_the_account(owner: None) -> None:
    ran = mailer("user", "invite", PAUL, "--name", "Paul", "--at", "courrier=editor")
    token = re.search(r"/admin/link/([\w-]{40})", ran.out)
    assert token
    assert (listed()[PAUL]["role"], listed()[PAUL]["at"]) == (None, "courrier=editor")
    with transaction() as session:
        account_links.use(session, account_links.read(session, token[1], now=clock.now()), "a long enough passphrase")
    with transaction() as session:
        assert accounts.authenticate(session, PAUL, "a long enough passphrase")


def test_roles_are_changed_and_the_last_owner_stays(owner: None) -> None:
    mailer("user", "invite", PAUL, "--name", "Paul", "--role", "viewer")
    assert mailer("user", "role", PAUL, "admin").code == 0
    assert listed()[PAUL]["role"] == "admin"
    assert mailer("user", "role", PAUL, "none", "--at", "courrier=writer").code == 0
    assert mailer("user", "role", PAUL, "king").code == 2
    refused = mailer("user", "role", CAMILLE, "admin")
    assert (refused.code, "last owner" in refused.err) == (5, True)
    assert mailer("user", "disable", CAMILLE).code == 5


def test_somebody_is_locked_out_and_let_in_again(owner: None) -> None:
    mailer("user", "invite", PAUL, "--name", "Paul", "--role", "viewer")
    assert mailer("user", "disable", PAUL).code == 0
    assert mailer("user", "reset", PAUL).code == 3
    assert mailer("user", "enable", PAUL).code == 0
    assert "/admin/link/" in mailer("user", "reset", PAUL, "--second-factor").out


def test_what_the_command_line_does_is_in_the_log_without_addresses(owner: None) -> None:
    mailer("user", "sign-in-link", CAMILLE)
    with transaction() as session:
        entries = session.execute(select(AuditEntry).order_by(AuditEntry.id)).scalars().all()
    assert [one.action for one in entries] == ["command.user.add", "command.user.sign-in-link"]
    assert {one.actor.value for one in entries} == {"command"}
    assert all("@" not in f"{one.objects}{one.actor_name}" for one in entries)
