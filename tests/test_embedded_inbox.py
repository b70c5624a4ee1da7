import json
import re
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest

from mailer.embedded import certificates, inbox
from mailer.embedded.inbox_store import Store, decode
from mailer.embedded.processes import Child, Supervisor, free_port, wait_for_port

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@dataclass(frozen=True, kw_only=True)
class Running:
    smtp_port: int
    client: httpx.Client
    directory: Path

    def send(self, content: bytes, sender: str = "lettre@example.org", recipients: tuple[str, ...] = ("a@b.example",)):
        """Hand a message over with its exact bytes; return what /messages.json says of it."""
        with smtplib.SMTP("127.0.0.1", self.smtp_port) as smtp:
            smtp.ehlo()
            assert smtp.mail(sender)[0] == 250
            for recipient in recipients:
                assert smtp.rcpt(recipient)[0] == 250
            assert smtp.docmd("DATA")[0] == 354
            smtp.send(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
            assert smtp.getreply()[0] == 250
        return self.client.get("/messages.json").json()[0]


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Running]:
    """The inbox as its own process, as `mailer inbox` runs it."""
    folder = tmp_path_factory.mktemp("inbox")
    smtp_port, http_port = free_port(), free_port()
    argv = [sys.executable, "-W", "error", "-m", "mailer.embedded.inbox"]
    argv += ["--smtp", f"127.0.0.1:{smtp_port}", "--http", f"127.0.0.1:{http_port}", "--dir", str(folder / "mail")]
    with Supervisor() as supervisor, httpx.Client(base_url=f"http://127.0.0.1:{http_port}") as client:
        supervisor.start(Child(name="inbox", argv=argv, log=folder / "log"))
        for port in (smtp_port, http_port):
            wait_for_port("127.0.0.1", port, check=supervisor.check)
        yield Running(smtp_port=smtp_port, client=client, directory=folder / "mail")
        supervisor.check()
        assert (folder / "log").read_text() == ""


def multipart(
    subject: str, html: str = "<!doctype html><html><head></head><body><p>Bonjour</p></body></html>"
) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Léa <lea@example.org>", "a@b.example", subject
    message["Message-ID"] = "<1@example.org>"
    message.set_content("Bonjour & bienvenue\n")
    message.add_alternative(html, subtype="html")
    return message.as_bytes().replace(b"\n", b"\r\n")


def test_the_file_has_the_very_bytes_of_the_wire(running):
    content = b"Subject: x\r\n\r\n.dot\r\n..\r\n\xe9\xff\x00 8 bit\r\n tab\t \r\nlone\rCR\r\n\r\n"
    message = running.send(content)
    assert (running.directory / f"{message['id']}.eml").read_bytes() == content
    assert running.client.get(f"/messages/{message['id']}.eml").content == content


def test_the_envelope_is_kept_beside_the_message(running):
    message = running.send(b"Subject: x\r\n\r\n", "bounce+1@example.org", ("a@b.example", "c@d.example"))
    kept = json.loads((running.directory / f"{message['id']}.json").read_bytes())
    assert (kept["envelope_from"], kept["recipients"]) == ("bounce+1@example.org", ["a@b.example", "c@d.example"])


def test_json_tells_what_there_is_to_know_of_a_message(running):
    listed = running.send(multipart("Қазақ киносы : à voir"))
    assert running.client.get(f"/messages/{listed['id']}.json").json() == listed
    assert listed | {"id": 0, "received_at": 0} == {
        "id": 0,
        "envelope_from": "lettre@example.org",
        "recipients": ["a@b.example"],
        "sender": "Léa <lea@example.org>",
        "subject": "Қазақ киносы : à voir",
        "message_id": "<1@example.org>",
        "received_at": 0,
    }


def test_the_null_sender_is_empty(running):
    assert running.send(b"Subject: x\r\n\r\n", "<>")["envelope_from"] == ""


def test_an_address_beyond_ascii_is_taken_with_smtputf8(running):
    with smtplib.SMTP("127.0.0.1", running.smtp_port) as smtp:
        smtp.sendmail("léa@exemple.example", ["ақ@b.example"], "Subject: é\r\n\r\n".encode(), ["SMTPUTF8"])
    message = running.client.get("/messages.json").json()[0]
    assert (message["envelope_from"], message["subject"]) == ("léa@exemple.example", "é")


def test_the_server_offers_size_8bitmime_and_smtputf8_but_not_pipelining(running):
    with smtplib.SMTP("127.0.0.1", running.smtp_port) as smtp:
        smtp.ehlo()
        assert smtp.esmtp_features == {"size": str(30 * 1024 * 1024), "8bitmime": "", "smtputf8": "", "help": ""}


def test_a_message_over_the_size_limit_is_refused(running):
    with smtplib.SMTP("127.0.0.1", running.smtp_port) as smtp, pytest.raises(smtplib.SMTPSenderRefused) as refused:
        smtp.sendmail("a@b.example", ["c@d.example"], b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n" * (16 * 1024 * 1024))
    assert refused.value.smtp_code == 552


def test_commands_that_come_in_one_piece_are_all_answered(running):
    session = (
        b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nSubject: 1\r\n\r\n.\r\n"
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nSubject: 2\r\n\r\n.\r\nQUIT\r\n"
    )
    with socket.create_connection(("127.0.0.1", running.smtp_port)) as connection, connection.makefile("rb") as replies:
        connection.sendall(session)
        codes = [line[:3] for line in replies if line[3:4] == b" "]
    assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"250", b"250", b"354", b"250", b"221"]


def test_hundreds_of_messages_go_over_one_connection(running):
    with smtplib.SMTP("127.0.0.1", running.smtp_port) as smtp:
        for number in range(300):
            smtp.sendmail("a@b.example", ["c@d.example"], f"Subject: n{number}\r\n\r\n")
    assert running.client.get("/messages.json").json()[0]["subject"] == "n299"


def test_the_list_escapes_a_hostile_subject(running):
    running.send(multipart(HOSTILE))
    page = running.client.get("/").text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "<img" not in page


@pytest.mark.parametrize("view", ["html", "phone", "dark", "text", "headers", "source"])
def test_every_view_escapes_a_hostile_message(running, view):
    html = "</iframe></pre><script>alert(1)</script>"
    message = running.send(multipart(HOSTILE, html).replace(b"Bonjour &", b"</pre><script>alert(2)</script>"))
    page = running.client.get(f"/messages/{message['id']}", params={"view": view})
    assert page.status_code == 200
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script" not in page.text


def test_the_mails_html_is_framed_without_scripts_forms_or_origin(running):
    message = running.send(multipart("x", "<script>alert(1)</script><p>Bonjour</p>"))
    page = running.client.get(f"/messages/{message['id']}").text
    assert re.findall(r'sandbox="([^"]*)"', page) == ["allow-popups allow-popups-to-escape-sandbox"]
    policy = running.client.get(f"/messages/{message['id']}/html").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox allow-popups allow-popups-to-escape-sandbox" in policy
    assert "script-src" not in policy


def test_links_of_a_mail_open_in_a_tab_of_their_own(running):
    message = running.send(multipart("x"))
    html = running.client.get(f"/messages/{message['id']}/html").text
    assert html.startswith('<!doctype html><html><head><base target="_blank">')


def test_the_dark_view_applies_the_mails_dark_rules(running):
    css = "@media (prefers-color-scheme: dark){p{color:white}} @media (prefers-color-scheme:light){p{color:black}}"
    message = running.send(multipart("x", f"<style>{css}</style><p>x</p>"))
    dark = running.client.get(f"/messages/{message['id']}/html", params={"scheme": "dark"}).text
    light = running.client.get(f"/messages/{message['id']}/html").text
    assert "@media (min-width:0){p{color:white}} @media (max-width:0){p{color:black}}" in dark
    assert "@media (max-width:0){p{color:white}} @media (min-width:0){p{color:black}}" in light


def test_only_the_first_page_of_the_list_refreshes_itself(running):
    message = running.send(multipart("x"))
    assert 'http-equiv="refresh"' in running.client.get("/").text
    assert 'http-equiv="refresh"' not in running.client.get(f"/messages/{message['id']}").text


def test_a_message_without_html_opens_as_text(running):
    message = running.send(b"Subject: x\r\n\r\n<b>plain</b>\r\n")
    assert "&lt;b&gt;plain&lt;/b&gt;" in running.client.get(f"/messages/{message['id']}").text
    assert running.client.get(f"/messages/{message['id']}/html").status_code == 404


@pytest.mark.parametrize("path", ["/messages/1", "/messages/..%2f..%2fetc%2fpasswd", "/messages/1.eml", "/x"])
def test_what_is_not_there_is_not_found(running, path):
    assert running.client.get(path).status_code == 404


def test_a_list_longer_than_a_page_is_cut(running):
    with smtplib.SMTP("127.0.0.1", running.smtp_port) as smtp:
        for number in range(120):
            smtp.sendmail("a@b.example", ["c@d.example"], f"Subject: p{number}.\r\n\r\n")
    first = running.client.get("/").text
    assert ("p20." in first, "p19." in first) == (True, False)
    assert "p19." in running.client.get("/?page=2").text


def test_the_oldest_messages_beyond_the_limit_are_dropped(tmp_path):
    store = Store(tmp_path, kept_messages=2)
    for number in range(3):
        store.add(f"Subject: {number}\r\n\r\n".encode(), envelope_from="", recipients=[])
    assert [message.subject for message in store.newest_first()] == ["2", "1"]
    assert len(list(tmp_path.iterdir())) == 4


def test_messages_survive_a_restart_and_keep_their_order(tmp_path):
    store = Store(tmp_path)
    for number in range(3):
        store.add(f"Subject: {number}\r\n\r\n".encode(), envelope_from="a@b.example", recipients=["c@d.example"])
    (tmp_path / "00000000000000000001.json").write_text("{")
    again = Store(tmp_path)
    assert again.newest_first() == store.newest_first()
    assert again.add(b"\r\n", envelope_from="", recipients=[]).id > store.newest_first()[0].id


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("=?utf-8?q?l=C3=A9a?= =?utf-8?b?w6k=?=", "léaé"),
        ("=?no-such-charset?q?x?=", "=?no-such-charset?q?x?="),
        ("=?utf-8?b?%%%?=", "=?utf-8?b?%%%?="),
        ("=?utf-8?q?=FF?=", "\N{REPLACEMENT CHARACTER}"),
        ("a\r\n b", "a b"),
        ("\udcc3\udca9", "é"),
        ("", ""),
    ],
)
def test_a_header_is_decoded_whatever_is_wrong_with_it(raw, text):
    assert decode(raw) == text


def test_a_taken_port_is_refused_with_a_sentence(running, tmp_path):
    address = f"127.0.0.1:{running.smtp_port}"
    argv = [sys.executable, "-m", "mailer.embedded.inbox", "--smtp", address, "--http", address, "--dir", str(tmp_path)]
    run = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (1, f"Cannot listen on {address}: Address already in use.\n")


@pytest.mark.parametrize(
    ("text", "address"), [("[::1]:25", ("::1", 25)), (":25", ("127.0.0.1", 25)), ("25", ("127.0.0.1", 25))]
)
def test_addresses_are_read_in_every_usual_form(text, address):
    assert inbox.parse_address(text) == address


@pytest.mark.parametrize("text", ["", "localhost", "localhost:", "localhost:99999", "localhost:0"])
def test_an_address_without_a_usable_port_is_refused(text):
    with pytest.raises(inbox.InboxFailed):
        inbox.parse_address(text)


def test_the_page_is_served_over_https_when_asked(tmp_path):
    files = certificates.create(tmp_path)
    smtp_port, http_port = free_port(), free_port()
    argv = [sys.executable, "-m", "mailer.embedded.inbox", "--smtp", f":{smtp_port}", "--http", f":{http_port}"]
    argv += ["--dir", str(tmp_path / "mail"), "--ssl-cert", str(files.cert_file), "--ssl-key", str(files.key_file)]
    with Supervisor() as supervisor:
        supervisor.start(Child(name="inbox", argv=argv, log=tmp_path / "log"))
        wait_for_port("127.0.0.1", http_port, check=supervisor.check)
        context = ssl.create_default_context(cafile=str(files.ca_file))
        assert httpx.get(f"https://localhost:{http_port}/messages.json", verify=context).json() == []


def test_the_fixture_receives_what_is_sent(smtp_inbox):
    with smtplib.SMTP(smtp_inbox.host, smtp_inbox.port) as smtp:
        smtp.sendmail("a@b.example", ["c@d.example"], b"Subject: =?utf-8?q?=C3=A9?=\r\n\r\n.x\r\n")
    (message,) = smtp_inbox.wait_for(1)
    assert (message.envelope_from, message.recipients) == ("a@b.example", ("c@d.example",))
    assert message.email["Subject"] == "é"
    assert smtp_inbox.raw == [b"Subject: =?utf-8?q?=C3=A9?=\r\n\r\n.x\r\n"]
