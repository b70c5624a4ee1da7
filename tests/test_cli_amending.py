"""Articles of issues that have left, from the command line."""

from datetime import timedelta

import pytest

from mailer import clock
from mailer.db import transaction
from mailer.issues import issues
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, an_article, readers


@pytest.fixture
def issue(installation: SmtpInbox) -> tuple[str, str]:
    """An issue of two articles that is being sent to two readers, though no worker runs: its id, and that of the first."""
    with transaction() as session:
        newsletter = a_newsletter(session)
        seen = clock.now() - timedelta(minutes=5)
        dam, _ = (an_article(session, newsletter, slug, seen=seen) for slug in ("barrage", "train"))
        readers(session, newsletter, 2)
        made = issues.draft(session, newsletter, now=clock.now())
        issues.start(session, made, batch_size=10, now=clock.now())
        return str(made.id), str(dam.id)


def test_an_article_is_pulled_and_the_history_is_shown(issue: tuple[str, str]) -> None:
    issue_id, article_id = issue
    ran = mailer("issue", "pull", issue_id, article_id, "--note", "Cet article était faux.", "--yes", "--json")
    assert (ran.code, ran.value["revision"], ran.value["subject"]) == (0, 1, "Le titre de train")
    shown = mailer("issue", "show", issue_id, "--json").value
    assert [one["title"] for one in shown["articles"]] == ["Le titre de train"]
    (change,) = shown["changes"]
    assert (change["kind"], change["had"], change["by"]) == ("pulled", 0, "the command line")
    assert (
        "pulled by the command line: “Le titre de barrage”; 0 readers had it before"
        in mailer("issue", "show", issue_id).out
    )


def test_an_article_is_put_anew_and_corrected(issue: tuple[str, str]) -> None:
    issue_id, article_id = issue
    assert mailer("issue", "replace", issue_id, article_id, "--note", "Le nom était faux.", "--yes").code == 0
    ran = mailer("article", "correct", article_id, "--note", "Et la date aussi.")
    assert f"For the rest: mailer issue replace {issue_id} {article_id}" in ran.out
    kinds = [one["kind"] for one in mailer("issue", "show", issue_id, "--json").value["changes"]]
    assert kinds == ["replaced", "corrected"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["issue", "pull", "{issue}", "999999", "--yes"], 3, "no article 999999"),
        (["issue", "pull", "{issue}", "{article}"], 2, "--yes"),
        (["issue", "replace", "{issue}", "{article}", "--note", " ", "--yes"], 2, "what was wrong"),
        (["article", "correct", "{article}", "--note", "{{ x }}"], 2, "placeholder"),
        (["issue", "pull", "{issue}", "{article}", "--subject", "{{ x }}", "--yes"], 7, "placeholder"),
        (["newsletter", "edit", "courrier", "--set", "carries_corrections=some"], 2, "own or all or none"),
    ],
)
def test_what_can_not_be_is_said_with_its_exit_code(
    issue: tuple[str, str], arguments: list[str], code: int, words: str
) -> None:
    given = [one.replace("{issue}", issue[0]).replace("{article}", issue[1]) for one in arguments]
    ran = mailer(*given)
    assert (ran.code, words in ran.err) == (code, True), ran.err
