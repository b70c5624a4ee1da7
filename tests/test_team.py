"""Who belongs to the newsroom: what nobody may give or take, and that somebody always owns the installation."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.models.accounts import Account, AccountRight, AccountSession, Role
from mailer.newsroom import accounts, rights, second_factors, team
from mailer.newsroom.rights import Rights
from mailer.newsroom.team import Grant, Person
from tests.factories import NOW, a_newsletter

OWNER = Rights(everywhere=Role.OWNER, at={})
ADMIN = Rights(everywhere=Role.ADMIN, at={})


@pytest.fixture
def camille(session: Session) -> Account:
    """The first owner."""
    return accounts.create(
        session, "camille@courrier.example", name="Camille", password="a long enough passphrase", language="fr", now=NOW
    )


def invited(session: Session, grant: Grant, *, email: str = "paul@courrier.example", by: Rights = OWNER) -> Account:
    return team.invite(session, Person(email=email, name="Paul", language="fr", grant=grant), by=by, now=NOW)


def test_the_roles_are_a_ladder() -> None:
    assert [role.value for role in Role] == ["viewer", "writer", "editor", "admin", "owner"]
    held = Rights(everywhere=Role.EDITOR, at={})
    assert [held.may(role) for role in Role] == [True, True, True, False, False]


def test_a_right_at_a_newsletter_adds_to_the_role_everywhere() -> None:
    held = Rights(everywhere=Role.VIEWER, at={7: Role.ADMIN})
    assert (held.role_at(7), held.role_at(8), held.role_at()) == (Role.ADMIN, Role.VIEWER, Role.VIEWER)
    only = Rights(everywhere=None, at={7: Role.WRITER})
    assert (only.role_at(8), only.sees(8), only.newsletter_ids) == (None, False, frozenset({7}))


def test_who_is_invited_can_not_sign_in_before_choosing_a_password(session: Session, camille: Account) -> None:
    paul = invited(session, Grant(everywhere=Role.EDITOR))
    assert accounts.authenticate(session, paul.email, "") is None
    assert rights.of(session, paul).may(Role.EDITOR)


def test_rights_at_single_newsletters_are_given(session: Session, camille: Account) -> None:
    newsletter = a_newsletter(session)
    paul = invited(session, Grant(at={"courrier": Role.EDITOR, "no-such": Role.ADMIN}))
    held = rights.of(session, paul)
    assert (held.everywhere, dict(held.at)) == (None, {newsletter.id: Role.EDITOR})


@pytest.mark.parametrize(
    "grant",
    [Grant(everywhere=Role.OWNER), Grant(everywhere=Role.VIEWER, at={"x": Role.OWNER}), Grant()],
)
def test_nobody_gives_more_than_they_have(session: Session, camille: Account, grant: Grant) -> None:
    with pytest.raises(team.TeamForbids):
        invited(session, grant, by=ADMIN)


def test_an_admin_does_not_touch_an_owner(session: Session, camille: Account) -> None:
    accounts.add(session, "o@courrier.example", name="O", language="fr", role=Role.OWNER, now=NOW)
    for act in (
        lambda: team.change(session, camille, Grant(everywhere=Role.VIEWER), by=ADMIN),
        lambda: team.disable(session, camille, by=ADMIN, now=NOW),
        lambda: team.remove(session, camille, by=ADMIN),
        lambda: team.reset_second_factor(session, camille, by=ADMIN),
    ):
        with pytest.raises(team.TeamForbids, match="Only an owner"):
            act()


def test_the_last_owner_stays(session: Session, camille: Account) -> None:
    # Neither an invited owner nor a disabled one could open the door again.
    invited(session, Grant(everywhere=Role.OWNER))
    for act in (
        lambda: team.change(session, camille, Grant(everywhere=Role.ADMIN), by=OWNER),
        lambda: team.disable(session, camille, by=OWNER, now=NOW),
        lambda: team.remove(session, camille, by=OWNER),
    ):
        with pytest.raises(team.TeamForbids, match="last owner"):
            act()


def test_an_owner_goes_when_there_is_another(session: Session, camille: Account) -> None:
    paul = invited(session, Grant(everywhere=Role.OWNER))
    accounts.set_password(session, paul, "another long passphrase")
    team.remove(session, camille, by=OWNER)
    assert session.execute(select(Account.email)).scalars().all() == ["paul@courrier.example"]


@pytest.mark.parametrize("act", ["change", "disable", "reset"])
def test_whatever_changes_what_somebody_may_ends_their_sessions(session: Session, camille: Account, act: str) -> None:
    paul = invited(session, Grant(everywhere=Role.EDITOR))
    token = accounts.open_session(session, paul.id, now=NOW)
    if act == "change":
        team.change(session, paul, Grant(everywhere=Role.VIEWER), by=OWNER)
    elif act == "disable":
        team.disable(session, paul, by=OWNER, now=NOW)
        assert accounts.of_session(session, token, now=NOW) is None
        team.enable(session, paul, by=OWNER)
    else:
        team.reset_second_factor(session, paul, by=OWNER)
    assert session.execute(select(AccountSession.account_id)).all() == []
    assert accounts.of_session(session, token, now=NOW) is None


def test_a_new_password_ends_the_other_sessions(session: Session, camille: Account) -> None:
    here, elsewhere = (accounts.open_session(session, camille.id, now=NOW) for _ in range(2))
    accounts.set_password(session, camille, "another long passphrase", keep=here)
    assert accounts.of_session(session, here, now=NOW) is camille
    assert accounts.of_session(session, elsewhere, now=NOW) is None


def test_a_session_is_ended_by_its_name_only_by_its_owner(session: Session, camille: Account) -> None:
    token = accounts.open_session(session, camille.id, now=NOW, browser="Firefox, Linux", network="192.0.2.0/24")
    (found,) = accounts.sessions(session, camille.id, now=NOW)
    name = accounts.session_name(found.token_hash)
    assert not accounts.close_named(session, camille.id + 1, name)
    assert accounts.close_named(session, camille.id, name)
    assert accounts.of_session(session, token, now=NOW) is None


def test_a_removed_account_takes_its_rights_and_codes_along(session: Session, camille: Account) -> None:
    a_newsletter(session)
    paul = invited(session, Grant(at={"courrier": Role.EDITOR}))
    second_factors.renew_codes(session, paul)
    team.remove(session, paul, by=OWNER)
    assert session.execute(select(AccountRight)).all() == []
