"""The command line as a user types it: output, exit codes, and that data and talk are kept apart."""

import json
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from mailer import clock, scheduling
from mailer.db import transaction
from mailer.delivery import deliveries, remedies, sending
from mailer.issues import issues
from mailer.models.content import PauseReason
from mailer.models.deliveries import Batch, Outcome
from mailer.newsroom import newsletters
from tests.command import in_its_own_process, mailer
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, an_article, readers


def an_issue(*, sent: bool = False) -> int:
    with transaction() as session:
        newsletter = a_newsletter(session)
        an_article(session, newsletter, "eau", seen=clock.now() - timedelta(minutes=1))
        readers(session, newsletter, 2)
        issue_id = issues.draft(session, newsletter, now=clock.now()).id
    if sent:
        scheduling.start_issue(issue_id)
        sending.send_due(budget_seconds=10)
    return issue_id


def test_help_begins_with_what_it_is_for_and_examples() -> None:
    ran = in_its_own_process("--help")
    assert ran.code == 0
    assert ran.out.index("Examples:") < ran.out.index("Options:")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["isue"], 2, "Did you mean 'issue'"),
        (["newsletter", "show", "none"], 3, "There is no newsletter “none”."),
        (["issue", "show", "99"], 3, "There is no issue 99."),
        (["subscribers", "show", "nobody@example.org"], 3, "No subscriber has this address."),
        (["subscribers", "show", "nonsense"], 2, "mailer:"),
        (["newsletter", "list", "--nonsense"], 2, "--nonsense"),
        (["demo", "--once", "--feed", "no-such-file.xml"], 3, "no-such-file.xml"),
    ],
)
def test_a_mistake_is_one_sentence_and_its_own_code(
    installation: SmtpInbox, arguments: list[str], code: int, words: str
) -> None:
    ran = mailer(*arguments)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_wrong_settings_stop_every_command_with_one_sentence(environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://x")
    ran = in_its_own_process("issue", "list", "courrier")
    assert ran.code == 2
    assert ran.err == "mailer: DATABASE_URL must start with postgresql://.\n"


def test_a_database_that_is_away_is_worth_another_try(environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    ran = mailer("newsletter", "list")
    assert ran.code == 75
    assert "PostgreSQL can't be reached" in ran.err


def test_a_newsletter_from_nothing(installation: SmtpInbox) -> None:
    made = mailer(
        *(
            "newsletter",
            "add",
            "hebdo",
            "--name",
            "Le Courrier",
            "--sender",
            "lettre@courrier.example",
            "--publisher",
            "Le Courrier",
        ),
        *("--postal-address", "12 rue des Caravanes", "--site", "https://courrier.example", "--cron", "0 7 * * FRI"),
    )
    assert (made.code, made.out) == (0, "Created “hebdo”. Next: mailer feed add hebdo URL\n")
    assert mailer("newsletter", "schedule", "hebdo", "99 * * * *").code == 2
    shown = mailer("--json", "newsletter", "show", "hebdo").value
    assert (shown["name"], shown["cron"], len(shown["next_slots"])) == ("Le Courrier", "0 7 * * FRI", 5)
    assert mailer("subscribers", "add", "hebdo", "lea@example.org", "--proof", "paper").code == 0
    assert mailer("--json", "subscribers", "stats", "hebdo").value["confirmed"] == 1
    assert mailer("subscribers", "unsubscribe", "hebdo", "lea@example.org").code == 0
    assert mailer("subscribers", "add", "hebdo", "lea@example.org", "--proof", "paper").code == 5


def test_what_is_known_of_a_reader_is_noted_for_merge_fields(installation: SmtpInbox) -> None:
    with transaction() as session:
        a_newsletter(session, "hebdo")
    assert mailer("subscribers", "add", "hebdo", "lea@example.org", "--proof", "paper").code == 0
    noted = mailer("subscribers", "describe", "lea@example.org", "--set", "name=Léa = L.", "--set", "city=Almaty")
    assert noted.code == 0
    shown = mailer("--json", "subscribers", "show", "lea@example.org").value
    assert (shown["name"], shown["attributes"]) == ("Léa = L.", {"city": "Almaty"})
    assert mailer("subscribers", "describe", "lea@example.org", "--set", "City=x").code == 2
    assert mailer("subscribers", "describe", "lea@example.org", "--set", "city").code == 2


def test_the_next_issue_is_shown_with_reasons_and_nothing_changes(installation: SmtpInbox) -> None:
    with transaction() as session:
        newsletter = a_newsletter(session)
        an_article(session, newsletter, "eau", seen=clock.now() - timedelta(minutes=1))
        an_article(
            session,
            newsletter,
            "plus-tard",
            seen=clock.now() - timedelta(minutes=1),
            published_at=clock.now() + timedelta(days=1),
        )
    shown = mailer("issue", "next", "courrier", "--json").value
    assert [one["title"] for one in shown["articles"]] == ["Le titre de eau"]
    assert [one["reason"] for one in shown["left_out"]] == ["dated in the future; it is held until then"]
    assert mailer("--json", "issue", "list", "courrier").value == []


def test_sending_without_a_terminal_needs_yes(installation: SmtpInbox) -> None:
    issue_id = an_issue()
    ran = mailer("issue", "send", str(issue_id))
    assert ran.code == 2
    assert "--yes" in ran.err
    assert mailer("--json", "issue", "show", str(issue_id)).value["state"] == "draft"


def test_an_issue_is_sent_watched_and_accounted_for(installation: SmtpInbox) -> None:
    issue_id = an_issue()
    assert mailer("issue", "send", str(issue_id), "--yes").code == 0
    scheduling.start_issue(issue_id)
    sending.send_due(budget_seconds=10)
    watched = mailer("issue", "watch", str(issue_id), "--json")
    last = json.loads(watched.out.splitlines()[-1])
    assert (last["state"], last["recipients"], last["accepted"]) == ("sent", 2, 2)
    listed = mailer("--json", "issue", "deliveries", str(issue_id), "--outcome", "accepted").value
    assert [one["address"] for one in listed] == ["r0@example.org", "r1@example.org"]


def an_uncertain_issue() -> str:
    """Two readers' mails were handed over, and the server's answers were lost."""
    issue_id = an_issue()
    scheduling.start_issue(issue_id)
    now = clock.now()
    with transaction() as session:
        claim = deliveries.claim(session, owner="host.1", lease_seconds=60, now=now)
        assert claim is not None
        ids = deliveries.unsettled_ids(session, claim)
        settled = [deliveries.Settled(delivery_id=one, outcome=Outcome.UNCERTAIN, reply="no answer") for one in ids]
        deliveries.record(session, claim, settled, [], now=now)
        deliveries.release(session, claim, due_at=now, now=now)
    with transaction() as session:
        assert issues.finish(session, issue_id, now=now)
    return str(issue_id)


def test_uncertain_deliveries_are_listed_with_the_last_words(installation: SmtpInbox) -> None:
    issue_id = an_uncertain_issue()
    listed = mailer("issue", "uncertain", issue_id, "--json").value
    assert [(one["address"], one["reply"]) for one in listed] == [
        ("r0@example.org", "no answer"),
        ("r1@example.org", "no answer"),
    ]
    assert datetime.fromisoformat(listed[0]["at"]).tzinfo is not None
    assert "r0@example.org" not in mailer("issue", "uncertain", issue_id, "--after", str(listed[0]["delivery"])).out


def test_uncertain_deliveries_are_settled_singly_and_all(installation: SmtpInbox) -> None:
    issue_id = an_uncertain_issue()
    first = str(mailer("--json", "issue", "uncertain", issue_id).value[0]["delivery"])
    one = mailer("--json", "issue", "settle", issue_id, "--refused", "--delivery", first, "--yes").value
    assert one == {"id": int(issue_id), "how": "refused", "settled": 1, "state": "sent"}
    again = mailer("--json", "issue", "settle", issue_id, "--resend", "--yes").value
    assert (again["settled"], again["state"]) == (1, "sending")
    sending.send_due(budget_seconds=10)
    shown = mailer("--json", "issue", "show", issue_id).value
    assert (shown["state"], shown["accepted"], shown["refused"], shown["uncertain"]) == ("sent", 1, 1, 0)
    assert mailer("issue", "settle", issue_id, "--accepted", "--yes").out.startswith("No delivery was uncertain")


def test_settling_needs_one_decision_and_somebody_to_ask(installation: SmtpInbox) -> None:
    issue_id = an_uncertain_issue()
    assert mailer("issue", "settle", issue_id, "--yes").code == 2
    assert mailer("issue", "settle", issue_id, "--accepted", "--refused", "--yes").code == 2
    assert "--yes" in mailer("issue", "settle", issue_id, "--accepted").err
    assert len(mailer("--json", "issue", "uncertain", issue_id).value) == 2


def test_a_batch_that_is_being_sent_is_worth_another_try(installation: SmtpInbox) -> None:
    issue_id = an_uncertain_issue()
    with transaction() as session:
        session.execute(update(Batch).values(state="claimed", lease_until=clock.now() + timedelta(minutes=1)))
    ran = mailer("issue", "settle", issue_id, "--accepted", "--yes")
    assert (ran.code, ran.out) == (75, "")
    assert "nothing was settled" in ran.err


def test_what_happens_to_a_lost_answer_is_chosen(installation: SmtpInbox) -> None:
    issue_id = str(an_issue())
    assert mailer("--json", "issue", "show", issue_id).value["when_uncertain"] == "leave"
    mailer("issue", "send", issue_id, "--yes", "--when-uncertain", "resend")
    assert mailer("--json", "issue", "show", issue_id).value["when_uncertain"] == "resend"
    mailer("issue", "set", issue_id, "--when-uncertain", "leave")
    assert mailer("--json", "issue", "show", issue_id).value["when_uncertain"] == "leave"
    assert mailer("issue", "set", issue_id, "--when-uncertain", "never").code == 2


def test_a_pause_is_shown_with_its_code_a_remedy_and_the_servers_words(installation: SmtpInbox) -> None:
    issue_id = an_issue()
    scheduling.start_issue(issue_id)
    with transaction() as session:
        issue = issues.get(session, issue_id)
        issues.pause(session, issue, "554 5.7.1 rejected", code=PauseReason.BLOCKED, now=clock.now())
    shown = mailer("issue", "show", str(issue_id)).out
    assert "refuses our mail as such (5.7.x)" in shown
    assert "Check SPF, DKIM and DMARC" in shown
    assert "554 5.7.1 rejected" in shown
    assert mailer("issue", "show", str(issue_id), "--json").value["state_code"] == "blocked"


def test_an_issue_that_failed_says_why_to_whoever_watches(installation: SmtpInbox) -> None:
    issue_id = an_issue()
    with transaction() as session:
        issues.fail(session, issue_id, "no article", code=PauseReason.NOTHING_TO_SEND, now=clock.now())
    ran = mailer("issue", "watch", str(issue_id))
    assert ran.code == 1
    assert ran.err.splitlines()[-3:] == [*remedies.explain(PauseReason.NOTHING_TO_SEND, "no article")]
    assert json.loads(mailer("issue", "watch", str(issue_id), "--json").out)["state_code"] == "nothing_to_send"


def test_a_sent_issue_cannot_be_paused(installation: SmtpInbox) -> None:
    ran = mailer("issue", "pause", str(an_issue(sent=True)))
    assert (ran.code, ran.out) == (5, "")
    assert "is sent" in ran.err


def test_init_writes_settings_that_load_and_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in os.environ if one.startswith(("MAILER_", "DATABASE_URL", "REDIS_URL"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MAILER_CONFIG", str(tmp_path / "mailer.toml"))
    assert mailer("init", str(tmp_path)).code == 0
    assert (tmp_path / "mailer.toml").stat().st_mode & 0o077 == 0
    listed = mailer("--json", "config", "list").value
    assert {one["name"]: one["value"] for one in listed}["MAILER_SECRET_KEY"] == "(secret)"
    assert mailer("init", str(tmp_path)).code == 5
    assert mailer("init", str(tmp_path / "x"), "--public-url", "http://lettre.example").code == 2
    assert not (tmp_path / "x" / "mailer.toml").exists()


def test_the_settings_are_listed_with_their_source_and_without_passwords(environment, monkeypatch, tmp_path) -> None:
    (tmp_path / "mailer.toml").write_text("batch_size = 7\n")
    monkeypatch.setenv("MAILER_CONFIG", str(tmp_path / "mailer.toml"))
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:dbp@ss@host/db?password=query-pass")
    monkeypatch.setenv("REDIS_URL", "redis://:redis-pass@host/0")
    monkeypatch.setenv("MAILER_SMTP_URL", "smtps://me:smtp-pass@mail.example:465")
    ran = mailer("--json", "config", "list")
    listed = {one["name"]: (one["value"], one["source"]) for one in ran.value}
    assert not [word for word in ("dbp", "ss@", "-pass") if word in ran.out.replace("***@", "")]
    assert listed["REDIS_URL"] == ("redis://:***@host/0", "environment")
    assert listed["MAILER_BATCH_SIZE"] == ("7", "mailer.toml")
    assert listed["MAILER_RETRY_HOURS"][1] == "default"


def test_an_issue_that_did_not_reach_everybody_ends_in_part(installation: SmtpInbox) -> None:
    issue_id = an_issue()
    mailer("issue", "send", str(issue_id), "--yes")
    mailer("issue", "cancel", str(issue_id), "--yes")
    assert mailer("issue", "watch", str(issue_id)).code == 6


def test_an_account_and_its_link(installation: SmtpInbox) -> None:
    made = mailer("--json", "user", "add", "camille@courrier.example", "--name", "Camille Ferrand").value
    assert len(made["password"]) >= 16
    assert made["sign_in_link"].startswith("https://lettre.example/admin/sign-in/")
    assert mailer("user", "add", "camille@courrier.example", "--name", "Camille").code == 2
    assert mailer("user", "sign-in-link", "nobody@courrier.example").code == 3


def test_config_check_tells_a_database_without_tables(
    installation: SmtpInbox, services, monkeypatch: pytest.MonkeyPatch, worker_id: str
) -> None:
    assert mailer("config", "check").code == 0
    name = f"bare_{worker_id}"
    services.create_database(name)
    try:
        monkeypatch.setenv("DATABASE_URL", services.url_for(name))
        assert mailer("config", "check").code == 7
        assert mailer("newsletter", "list").code == 75
        assert mailer("migrate").out == "Migrated.\n"
        assert mailer("migrate").out == "Up to date already.\n"
        assert mailer("config", "check").code == 0
    finally:
        services.drop_database(name)


def test_config_check_tells_which_mail_server_does_not_let_us_in(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes = [{"name": "main", "url": installation.url}, {"name": "spare", "url": "smtp://127.0.0.1:1", "order": 2}]
    monkeypatch.setenv("MAILER_TRANSPORTS", json.dumps(routes))
    tried = mailer("config", "check")
    assert tried.code == 7
    assert "spare (127.0.0.1:1) cannot be reached" in tried.err
    assert "main" not in tried.err


def test_config_check_tells_about_a_key_that_is_not_there(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = {"domain": "courrier.example", "selector": "r1", "key_file": "/nowhere/r1.pem"}
    monkeypatch.setenv("MAILER_DKIM", json.dumps([key]))
    tried = mailer("config", "check")
    assert tried.code == 2
    assert "/nowhere/r1.pem" in tried.err


def test_no_servers_password_is_listed(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> None:
    routes = [{"name": "main", "url": "smtps://user:hush-hush@mail.example"}]
    monkeypatch.setenv("MAILER_TRANSPORTS", json.dumps(routes))
    assert "hush-hush" not in mailer("config", "list").out + mailer("--json", "config", "list").out


def test_newsletters_are_counted(installation: SmtpInbox) -> None:
    with transaction() as session:
        readers(session, a_newsletter(session), 3)
        assert newsletters.count_readers(session, newsletters.get(session, "courrier").id) == 3
    assert mailer("--json", "newsletter", "list").value[0]["readers"] == 3
