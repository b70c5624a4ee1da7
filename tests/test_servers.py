"""Mail servers entered at the desk: kept with a sealed password, used in order, and taken up by a process that sends."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from mailer import clock, settings, vault
from mailer.db import transaction
from mailer.delivery import sending, servers
from mailer.delivery.servers import Entered, ServerInvalid
from mailer.delivery.transports import checking
from mailer.issues import issues
from mailer.mail_settings import Transport
from mailer.models.installation import Security
from mailer.newsroom import installation as choices
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import NOW, a_newsletter, an_article, readers
from tests.smtp_server import scripted_server

TYPED = {
    "host": "smtp.courrier.example",
    "port": "587",
    "security": "smtp+starttls",
    "username": "lettre",
    "password": "p@ss/w:ord é",
    "position": "1",
    "connections": "10",
    "per_second": "",
    "per_hour": "",
    "per_day": "",
}


@pytest.fixture
def ours(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names no mail server."""
    monkeypatch.delenv("MAILER_SMTP_URL")
    settings.load.cache_clear()


def entered(**values: object) -> Entered:
    return Entered(**{"host": "smtp.courrier.example", "port": 587, "security": Security.STARTTLS, **values})


def test_without_any_server_there_is_no_route(session: Session, ours: None) -> None:
    assert servers.routes(session) == ()
    assert not servers.is_sandbox(session)


def test_the_environment_wins_over_the_desk(session: Session) -> None:
    servers.add(session, entered(), now=NOW)
    assert [one.url for one in servers.routes(session)] == ["smtp://127.0.0.1:1"]
    assert not servers.are_ours()


def test_servers_are_used_in_their_order_with_their_limits(session: Session, ours: None) -> None:
    servers.add(session, entered(host="second.example", position=2), now=NOW)
    servers.add(session, entered(host="first.example", per_second=0.5, per_hour=100, per_day=1000), now=NOW)
    first, second = servers.routes(session)
    assert (first.name, first.order, second.name, second.order) == ("first-example", 1, "second-example", 2)
    assert (first.per_second, first.per_hour, first.per_day) == (0.5, 100, 1000)


def test_a_password_is_sealed_and_comes_back_for_the_transport_alone(session: Session, ours: None) -> None:
    server = servers.add(session, entered(username="lettre", password="p@ss/w:ord é"), now=NOW)
    (route,) = servers.routes(session)
    assert "lettre:p%40ss%2Fw%3Aord%20%C3%A9@smtp.courrier.example:587" in route.url
    assert server.sealed_password is not None
    everything = session.execute(text("SELECT CAST(mail_servers AS text) FROM mail_servers")).scalar_one()
    assert "p@ss" not in everything
    assert "p@ss" not in repr(entered(password="p@ss")) + repr(route)


def test_a_password_that_our_key_does_not_open_leaves_the_server_out(
    session: Session, ours: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.add(session, entered(username="lettre", password="secret"), now=NOW)
    monkeypatch.setenv("MAILER_SECRET_KEY", "another secret for tests that is long enough")
    settings.load.cache_clear()
    assert servers.routes(session) == ()


def test_a_change_keeps_the_password_unless_it_would_go_elsewhere(session: Session, ours: None) -> None:
    server = servers.add(session, entered(username="lettre", password="secret"), now=NOW)
    servers.edit(session, server.id, entered(username="lettre", port=465, security=Security.TLS), now=NOW)
    assert servers.routes(session)[0].url == "smtps://lettre:secret@smtp.courrier.example:465"
    with pytest.raises(ServerInvalid) as refused:
        servers.edit(session, server.id, entered(host="evil.example", username="lettre"), now=NOW)
    assert list(refused.value.errors) == ["password"]


def test_two_servers_of_one_host_have_names_of_their_own(session: Session, ours: None) -> None:
    names = [servers.add(session, entered(), now=NOW).name for _ in range(3)]
    assert names == ["courrier-example", "courrier-example-2", "courrier-example-3"]


def test_more_servers_than_can_be_used_are_refused(session: Session, ours: None) -> None:
    for _ in range(servers.MOST_SERVERS):
        servers.add(session, entered(), now=NOW)
    with pytest.raises(ServerInvalid):
        servers.add(session, entered(), now=NOW)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "a", "x" * 200 + ".example", "10.0.0.1"])
def test_every_host_that_can_be_typed_makes_a_transport(session: Session, ours: None, host: str) -> None:
    servers.add(session, servers.read_form(TYPED | {"host": host}), now=NOW)
    assert len(servers.routes(session)) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", ""),
        ("host", "smtp courrier"),
        ("host", "a@b"),
        ("host", "x" * 300),
        ("host", "evil.example/\r\nQUIT"),
        ("port", ""),
        ("port", "0"),
        ("port", "65536"),
        ("port", "-1"),
        ("port", "٣"),
        ("security", "gopher"),
        ("username", ""),
        ("username", "x" * 501),
        ("password", "x\ny"),
        ("position", "101"),
        ("connections", "1001"),
        ("connections", "many"),
        ("per_second", "0"),
        ("per_second", "nan"),
        ("per_hour", "1.5"),
        ("per_day", "-3"),
        ("per_day", "9" * 12),
    ],
)
def test_what_cannot_be_used_gets_a_sentence_at_its_field(field: str, value: str) -> None:
    with pytest.raises(ServerInvalid) as refused:
        servers.read_form(TYPED | {field: value})
    assert list(refused.value.errors) == [field]


def test_a_password_never_goes_in_clear_but_to_this_machine() -> None:
    with pytest.raises(ServerInvalid) as refused:
        servers.read_form(TYPED | {"security": "smtp"})
    assert list(refused.value.errors) == ["security"]
    assert servers.read_form(TYPED | {"security": "smtp", "host": "localhost"}).security == Security.CLEAR


@pytest.mark.parametrize(
    ("pasted", "found"),
    [
        ("smtps://me:p%40ss@smtp.example", ("smtp.example", "465", "smtps", "me", "p@ss")),
        ("smtp://me:pw@smtp.example:2525", ("smtp.example", "2525", "smtp+starttls", "me", "pw")),
        ("smtp://127.0.0.1:1025", ("127.0.0.1", "1025", "smtp", "", "")),
        ("smtp+starttls://smtp.example", ("smtp.example", "587", "smtp+starttls", "", "")),
    ],
)
def test_a_pasted_address_fills_the_fields(pasted: str, found: tuple[str, ...]) -> None:
    assert tuple(servers.read_url(pasted).values()) == found


@pytest.mark.parametrize(
    "pasted", ["", "smtp.example", "http://smtp.example", "smtp://", "smtp://a:99999", "smtp://[::"]
)
def test_what_is_no_such_address_fills_nothing(pasted: str) -> None:
    assert servers.read_url(pasted) == {}


def test_every_preset_is_a_server_that_can_be_used() -> None:
    for host, port, security in servers.PRESETS.values():
        assert servers.read_form(TYPED | {"host": host, "port": str(port), "security": security.value}).host == host


def test_the_sandbox_takes_everything_whatever_servers_there_are(
    session: Session, ours: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.add(session, entered(), now=NOW)
    choices.lock(session, now=NOW)
    servers.use_sandbox(session, True, now=NOW)
    assert servers.routes(session) == ()
    monkeypatch.setenv("MAILER_INBOX_SMTP_URL", "smtp://127.0.0.1:1025")
    settings.load.cache_clear()
    assert [one.url for one in servers.routes(session)] == ["smtp://127.0.0.1:1025"]


def test_a_sealed_secret_opens_for_its_purpose_only(environment: None) -> None:
    sealed = vault.seal(b"mail-server", "secret")
    assert vault.unseal(b"mail-server", sealed) == "secret"
    for purpose, text_ in ((b"another", sealed), (b"mail-server", sealed[:-4]), (b"mail-server", b"")):
        with pytest.raises(vault.SecretUnreadable):
            vault.unseal(purpose, text_)


def test_a_check_says_that_the_server_lets_us_in() -> None:
    with scripted_server(passwords={"lettre": "secret"}, extensions=("AUTH PLAIN", "SIZE 1000")) as server:
        url = f"smtp://lettre:secret@127.0.0.1:{server.port}"
        done = checking.check(Transport(name="x", url=url), helo_name="lettre.example")
    assert (done.code, done.words, done.server, done.size_bytes, done.tls) == ("ok", "", "127.0.0.1", 1000, "")
    assert "MAIL" not in " ".join(server.commands)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("smtp://lettre:wrong@127.0.0.1:{port}", "login_refused"),
        ("smtp+starttls://lettre:secret@127.0.0.1:{port}", "tls_refused"),
        ("smtp://127.0.0.1:1", "server_unreachable"),
    ],
)
def test_a_check_tells_what_the_server_said(url: str, code: str) -> None:
    with scripted_server(passwords={"lettre": "secret"}, extensions=("AUTH PLAIN",)) as server:
        done = checking.check(Transport(name="x", url=url.format(port=server.port)), helo_name="lettre.example")
    assert (done.code, done.is_good) == (code, False)
    assert done.words
    assert "wrong" not in done.words


@pytest.fixture
def sends(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Send an issue to one reader by the servers of the desk; tells how many mails the inbox has then."""
    monkeypatch.delenv("MAILER_SMTP_URL")
    settings.load.cache_clear()
    with transaction() as session:
        readers(session, a_newsletter(session), 1)

    def send() -> int:
        now = clock.now()
        with transaction() as session:
            newsletter = newsletters.get(session, "courrier")
            an_article(session, newsletter, f"a-{now.timestamp()}", seen=now - timedelta(milliseconds=1))
            issues.start(session, issues.draft(session, newsletter, now=now), batch_size=10, now=now)
        sending.send_due(budget_seconds=5)
        return len(installation.messages)

    return send


def a_server(port: int) -> Entered:
    return Entered(host="127.0.0.1", port=port, security=Security.CLEAR)


def test_mail_waits_for_the_first_server_and_leaves_by_it(sends: Callable[[], int], installation: SmtpInbox) -> None:
    assert sends() == 0
    with transaction() as session:
        servers.add(session, a_server(installation.port), now=clock.now())
    sending.send_due(budget_seconds=5)
    assert len(installation.messages) == 1


def test_a_process_that_sends_takes_up_a_change_at_its_next_round(
    sends: Callable[[], int], installation: SmtpInbox
) -> None:
    with transaction() as session:
        server_id = servers.add(session, a_server(installation.port), now=clock.now()).id
    assert sends() == 1
    with scripted_server() as other:
        with transaction() as session:
            servers.edit(session, server_id, a_server(other.port), now=clock.now())
        assert sends() == 1
        assert len(other.accepted) == 1
