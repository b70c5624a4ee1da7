"""What readers choose and what the next issue holds, from the command line."""

from datetime import timedelta

import pytest

from mailer import clock
from mailer.db import transaction
from mailer.issues import issues
from mailer.newsroom import newsletters
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, an_article, readers


@pytest.fixture
def article_id(installation: SmtpInbox) -> int:
    """A newsletter with two readers, r0@ and r1@example.org, and an article in “Économie”."""
    with transaction() as session:
        newsletter = a_newsletter(session)
        readers(session, newsletter, 2)
        seen = clock.now() - timedelta(minutes=5)
        return an_article(session, newsletter, "eco", seen=seen, topics=["Économie"]).id


def test_topics_are_set_ranked_listed_and_removed(article_id: int) -> None:
    for slug, name in (("economie", "Économie"), ("societe", "Société")):
        assert mailer("topic", "set", "courrier", slug, "--name", f"fr={name}", "--category", name).code == 0
    assert mailer("topic", "order", "courrier", "societe", "--json").value == {"topics": ["societe", "economie"]}
    assert mailer("topic", "remove", "courrier", "societe").code == 0
    (left,) = mailer("topic", "list", "courrier", "--json").value
    assert (left["topic"], left["categories"]) == ("economie", ["Économie"])


def test_tables_show_what_was_written_and_not_how_it_is_stored(article_id: int) -> None:
    assert mailer("topic", "set", "courrier", "eau", "--name", "fr=L’eau [/b]", "--category", "[dossier] Eau").code == 0
    shown = mailer("topic", "list", "courrier").out
    assert "fr=L’eau [/b]" in shown
    assert " [dossier] Eau " in shown


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["topic", "set", "courrier", "Bad slug", "--name", "fr=x", "--category", "x"], 2, "lower-case"),
        (["topic", "set", "courrier", "x", "--name", "x", "--category", "x"], 2, "LANGUAGE=NAME"),
        (["topic", "set", "courrier", "x", "--name", "fr=x"], 2, "needs a category or a word"),
        (["topic", "remove", "courrier", "none"], 3, "no topic “none”"),
        (["topic", "pin", "courrier", "999", "--until", "2099-01-01"], 2, "no article 999"),
        (["subscribers", "choose", "courrier", "r0@example.org", "--topic", "none"], 2, "no topic “none”"),
        (["subscribers", "choose", "courrier", "r0@example.org", "--pause-until", "soon"], 2, "not a day"),
        (
            ["subscribers", "add", "courrier", "a@example.org", "--proof", "paper", "--language", "xx"],
            2,
            "fr, en, ru, kk",
        ),
        (["issue", "next", "courrier", "--as", "nobody@example.org"], 3, "no reader"),
        (["newsletter", "edit", "courrier", "--set", "overflow=lost"], 2, "listed or carried"),
    ],
)
def test_what_can_not_be_is_said_with_its_exit_code(
    article_id: int, arguments: list[str], code: int, words: str
) -> None:
    ran = mailer(*arguments)
    assert (ran.code, words in ran.err) == (code, True), ran.err


def test_a_readers_choice_and_the_next_issue_as_they_get_it(article_id: int) -> None:
    mailer("topic", "set", "courrier", "societe", "--name", "fr=Société", "--category", "Société")
    chosen = mailer("subscribers", "choose", "courrier", "r0@example.org", "--topic", "societe", "--json").value
    assert (chosen["topics"], chosen["rhythm"], chosen["changed"]) == (["societe"], "each", True)
    everybody = mailer("issue", "next", "courrier", "--json").value
    reader = mailer("issue", "next", "courrier", "--as", "r0@example.org", "--json").value
    assert [one["title"] for one in everybody["articles"]] == ["Le titre de eco"]
    assert reader["articles"] == []
    assert [one["reason"] for one in reader["left_out"]] == ["about none of the topics that this reader chose"]
    assert reader["aside"].startswith("Nothing is left")


def test_the_next_issue_as_of_a_past_moment(article_id: int) -> None:
    shown = mailer("issue", "next", "courrier", "--at", "2020-01-01T08:00", "--json").value
    assert shown["articles"] == []
    assert "after the cut-off at 2020-01-01 07:00 UTC: for the next issue" in shown["left_out"][0]["reason"]


def test_an_article_is_pinned_and_unpinned(article_id: int) -> None:
    assert mailer("topic", "pin", "courrier", str(article_id), "--until", "2099-01-01T00:00").code == 0
    (first,) = mailer("issue", "next", "courrier", "--json").value["articles"]
    assert first["reason"] == "pinned until 2098-12-31 23:00 UTC"
    assert mailer("topic", "unpin", "courrier", str(article_id), "--json").value["unpinned"] is True


def test_how_many_readers_were_left_aside_is_shown(article_id: int) -> None:
    mailer(
        "subscribers",
        "choose",
        "courrier",
        "r0@example.org",
        "--pause-until",
        f"{clock.now() + timedelta(days=9):%Y-%m-%d}",
    )
    with transaction() as session:
        issue = issues.draft(session, newsletters.get(session, "courrier"), now=clock.now())
        issues.start(session, issue, batch_size=10, now=clock.now())
        issue_id = issue.id
    shown = mailer("issue", "show", str(issue_id), "--json").value
    assert (shown["recipients"], shown["readers_not_due"], shown["readers_without_news"]) == (1, 1, 0)
