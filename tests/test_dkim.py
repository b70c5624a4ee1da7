"""DKIM: dkimpy, which shares no code with us, verifies every copy, and nothing that was changed."""

import base64
import functools
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import dkim as dkimpy  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from dkim.canonicalization import Relaxed  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.mail import dkim, message, rendering
from mailer.mail_settings import DkimKey
from tests.mails import CONTEXTS, NONCE

NOW = datetime(2026, 11, 20, 7, 0, tzinfo=UTC)
DOMAIN = "courrier.example"
TOKEN = "T" * 40
ODD_TEXT = st.text(alphabet="  \t\n\r.=é€ab<&-", max_size=200)
ODD_WORDS = st.text(alphabet='  \t.="é€&<ab@', max_size=90)

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


@pytest.fixture(scope="module")
def rsa_signer() -> dkim.Signer:
    return dkim.Signer(domain=DOMAIN, selector="r1", private_key=rsa.generate_private_key(65537, 2048))


@pytest.fixture(scope="module")
def ed_signer() -> dkim.Signer:
    return dkim.Signer(domain=DOMAIN, selector="e1", private_key=ed25519.Ed25519PrivateKey.generate())


@pytest.fixture(params=["rsa", "ed25519", "both"])
def signers(request: pytest.FixtureRequest, rsa_signer: dkim.Signer, ed_signer: dkim.Signer) -> list[dkim.Signer]:
    return {"rsa": [rsa_signer], "ed25519": [ed_signer], "both": [rsa_signer, ed_signer]}[request.param]


def record(signer: dkim.Signer) -> bytes:
    """The DNS record that publishes a key (RFC 6376 3.6.1, RFC 8463 4)."""
    public = signer.private_key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        kind, octets = "rsa", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        kind, octets = "ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"v=DKIM1; k={kind}; p={base64.b64encode(octets).decode()}".encode()


def verified(raw: bytes, signers: Sequence[dkim.Signer]) -> list[bool]:
    """What a receiver finds, for each signature from the top."""
    zone = {f"{one.selector}._domainkey.{one.domain}.".encode(): record(one) for one in signers}
    assert raw.count(b"DKIM-Signature:") == len(signers)
    return [_verifies(dkimpy.DKIM(raw), n, zone) for n in range(len(signers))]


def _verifies(mail: dkimpy.DKIM, number: int, zone: dict[bytes, bytes]) -> bool:
    try:
        return bool(mail.verify(idx=number, dnsfunc=lambda name, **_: zone[name]))
    except dkimpy.ValidationError:
        return False


def compiled(
    signers: Sequence[dkim.Signer], *, template: str = "issue", language: str = "fr"
) -> message.CompiledMessage:
    """A mail as readers get it: `template` is issue or confirm."""
    rendered = render(template, language)
    headers = {"From": message.mailbox("Le Courrier d’Asie centrale", f"lettre@{DOMAIN}", header="From")}
    one_click = f"https://lettre.example/u/{message.placeholder(NONCE, 'oneclick')}/one-click"
    listed = {
        "Reply-To": f"<redaction@{DOMAIN}>",
        "List-Id": f"<courrier.{DOMAIN}>",
        "List-Unsubscribe": f"\r\n <{one_click}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "Feedback-ID": "1:courrier:newsletter:mailer00001",
    }
    headers |= listed if template == "issue" else {"Auto-Submitted": "auto-generated"}
    return message.compile_message(
        nonce=NONCE, headers=headers, subject=rendered.subject, text=rendered.text, html=rendered.html, signers=signers
    )


@functools.cache
def render(template: str, language: str) -> rendering.Rendered:
    return rendering.render(template, language=language, context=CONTEXTS[template]["full"])


def reader(address: str = "lea@example.org", since: str = "12 mars 2025") -> message.Reader:
    return message.Reader(
        address=address,
        since=since,
        confirm=TOKEN,
        unsubscribe=TOKEN,
        oneclick=TOKEN,
        preferences=TOKEN,
        message_id=f"1.abc@{DOMAIN}",
    )


def tags(raw: bytes) -> dict[str, str]:
    """The tags of the uppermost signature."""
    value = re.sub(rb"\s+", b"", raw.split(b"DKIM-Signature:", 1)[1].split(b"\r\nFrom:", 1)[0]).decode()
    return dict(tag.split("=", 1) for tag in value.split(";"))


@pytest.mark.parametrize("template", ["issue", "confirm"])
@pytest.mark.parametrize("language", ["fr", "en", "ru", "kk"])
def test_every_signature_of_a_real_mail_verifies(signers: list[dkim.Signer], template: str, language: str) -> None:
    raw = compiled(signers, template=template, language=language).fill(reader(), now=NOW)
    assert verified(raw, signers) == [True] * len(signers)


def test_signatures_verify_behind_what_relays_put_on_top(signers: list[dkim.Signer]) -> None:
    raw = compiled(signers).fill(reader(), now=NOW)
    trace = b"Return-Path: <x@example.net>\r\nReceived: from a by b;\r\n\tFri, 20 Nov 2026 07:00:01 +0000\r\n" * 2
    assert verified(trace + raw, signers) == [True] * len(signers)


@pytest.mark.parametrize(
    "subject", ["plain", "Été à Almaty : l’eau, « encore » " * 4, "Қазақ киносы: алматы " * 6, "a  b\tc", "x" * 200]
)
def test_any_subject_is_covered(subject: str, signers: list[dkim.Signer]) -> None:
    made = message.compile_message(
        nonce=NONCE, headers={"From": f"<a@{DOMAIN}>"}, subject=subject, text="t", html="h", signers=signers
    )
    assert verified(made.fill(reader(), now=NOW), signers) == [True] * len(signers)


@settings(max_examples=300, deadline=None)
@given(ODD_TEXT, ODD_TEXT, ODD_TEXT, st.lists(st.tuples(ODD_WORDS, ODD_WORDS), min_size=2, max_size=2))
def test_odd_bodies_and_readers_verify(
    ed_signer: dkim.Signer, before: str, between: str, after: str, readers: list[tuple[str, str]]
) -> None:
    address, since = message.placeholder(NONCE, "address"), message.placeholder(NONCE, "since")
    text = f"{before}{address}{between}{since}{after}"
    made = message.compile_message(
        nonce=NONCE,
        headers={"From": f"<a@{DOMAIN}>"},
        subject="s",
        text=text,
        html=text[::-1] + text,
        signers=[ed_signer],
    )
    for one in readers:
        raw = made.fill(reader(*one), now=NOW)
        assert verified(raw, [ed_signer]) == [True]
        assert not re.search(rb"[ \t]\r\n", raw.split(b"\r\n\r\n", 1)[1])


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="  \t=a.\n", max_size=120))
def test_the_relaxed_form_is_dkimpys(text: str) -> None:
    body = f"-{text}-".replace("\n", "\r\n").encode()
    assert dkim.relaxed_body(body) == Relaxed.canonicalize_body(body).removesuffix(b"\r\n")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_one_changed_byte_is_found(ed_signer: dkim.Signer, data: st.DataObject) -> None:
    raw = compiled([ed_signer]).fill(reader(), now=NOW)
    name = data.draw(st.sampled_from([b"From:", b"To:", b"Subject:", b"Date:", b"List-Unsubscribe:", b"\r\n"]))
    start = raw.index(b"\r\n" + name) + 2 + len(name)
    length = len(raw) - start if name == b"\r\n" else raw[start:].index(b"\r\n", 4)
    places = [index for index in range(start, start + length) if raw[index] > 32]
    place = data.draw(st.sampled_from(places))
    other = data.draw(st.integers(33, 126).filter(lambda octet: octet != raw[place]))
    assert verified(raw[:place] + bytes((other,)) + raw[place + 1 :], [ed_signer]) == [False]


@pytest.mark.parametrize("name", ["From", "Reply-To", "To", "Cc", "Subject", "Date"])
@pytest.mark.parametrize("template", ["issue", "confirm"])
def test_a_header_added_on_top_breaks_the_signature(name: str, template: str, ed_signer: dkim.Signer) -> None:
    raw = compiled([ed_signer], template=template).fill(reader(), now=NOW)
    assert verified(f"{name}: Eve <eve@evil.example>\r\n".encode() + raw, [ed_signer]) == [False]


def test_another_key_does_not_verify(signers: list[dkim.Signer]) -> None:
    raw = compiled(signers).fill(reader(), now=NOW)
    others: dict[str, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey] = {
        "rsa-sha256": rsa.generate_private_key(65537, 2048),
        "ed25519-sha256": ed25519.Ed25519PrivateKey.generate(),
    }
    wrong = [dkim.Signer(domain=DOMAIN, selector=one.selector, private_key=others[one.algorithm]) for one in signers]
    assert verified(raw, wrong) == [False] * len(signers)


def test_a_signature_says_who_when_and_what(signers: list[dkim.Signer]) -> None:
    found = tags(compiled(signers[-1:]).fill(reader(), now=NOW))
    signer = signers[-1]
    assert {name: found[name] for name in ("v", "a", "c", "d", "s", "t")} == {
        "v": "1",
        "a": signer.algorithm,
        "c": "relaxed/relaxed",
        "d": DOMAIN,
        "s": signer.selector,
        "t": str(int(NOW.timestamp())),
    }
    assert "l" not in found


@pytest.mark.parametrize("template", ["issue", "confirm"])
def test_every_header_is_signed_and_those_that_are_shown_once_more(template: str, ed_signer: dkim.Signer) -> None:
    raw = compiled([ed_signer], template=template).fill(reader(), now=NOW)
    head = raw.split(b"\r\nFrom:", 1)[1].split(b"\r\n\r\n")[0].decode()
    names = ["from", *(line.split(":")[0].lower() for line in head.split("\r\n")[1:] if line[0] != " ")]
    assert tags(raw)["h"].split(":") == [*names, *dkim.ONCE_MORE]
    assert ("list-unsubscribe-post" in names) == (template == "issue")


def test_the_signature_is_folded(signers: list[dkim.Signer]) -> None:
    raw = compiled(signers).fill(reader(), now=NOW)
    assert raw.startswith(b"DKIM-Signature: v=1;")
    assert max(map(len, raw.split(b"\r\n"))) <= 78


def test_without_keys_nothing_is_signed() -> None:
    assert compiled([]).fill(reader(), now=NOW).startswith(b"From:")


def test_the_copy_itself_is_not_changed_by_signing(signers: list[dkim.Signer]) -> None:
    assert compiled(signers).fill(reader(), now=NOW).endswith(compiled([]).fill(reader(), now=NOW))


def write(
    folder: Path, private: PrivateKey, *, mode: int = 0o600, encryption: KeySerializationEncryption | None = None
) -> DkimKey:
    """Write a key's file, as openssl does."""
    path = folder / "key.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    path.chmod(mode)
    return DkimKey(domain=DOMAIN, selector="s1", key_file=path)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_a_key_is_read_from_its_file(mode: int, tmp_path: Path) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    found = dkim.load(write(tmp_path, private, mode=mode))
    assert (found.domain, found.selector, found.algorithm) == (DOMAIN, "s1", "ed25519-sha256")
    assert record(found) == record(dkim.Signer(domain="x", selector="x", private_key=private))


@pytest.mark.parametrize("command", ["genrsa 2048", "genrsa -traditional 2048", "genpkey -algorithm ed25519"])
def test_keys_that_openssl_makes_are_read(command: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = subprocess.run(["openssl", *command.split()], capture_output=True, check=True)
    path.write_bytes(made.stdout)
    path.chmod(0o600)
    assert dkim.load(DkimKey(domain=DOMAIN, selector="s1", key_file=path)).algorithm.startswith(("rsa", "ed25519"))


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602])
def test_a_key_that_other_accounts_can_use_is_refused_with_the_remedy(mode: int, tmp_path: Path) -> None:
    key = write(tmp_path, ed25519.Ed25519PrivateKey.generate(), mode=mode)
    with pytest.raises(dkim.KeyInvalid, match=f"chmod 640 {key.key_file}"):
        dkim.load(key)


def test_an_encrypted_key_is_refused(tmp_path: Path) -> None:
    key = write(tmp_path, ed25519.Ed25519PrivateKey.generate(), encryption=BestAvailableEncryption(b"x"))
    with pytest.raises(dkim.KeyInvalid, match="is encrypted"):
        dkim.load(key)


def test_a_kind_of_key_that_dkim_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(dkim.KeyInvalid, match="neither RSA nor Ed25519"):
        dkim.load(write(tmp_path, ec.generate_private_key(ec.SECP256R1())))


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    # cryptography itself makes none so short; this one protects nothing.
    made = subprocess.run(["openssl", "genrsa", "512"], capture_output=True, check=True)
    path = tmp_path / "key.pem"
    path.write_bytes(made.stdout)
    path.chmod(0o600)
    with pytest.raises(dkim.KeyInvalid, match=r"512 bits.*2048"):
        dkim.load(DkimKey(domain=DOMAIN, selector="s1", key_file=path))


@pytest.mark.parametrize(
    "content", [b"", b"nothing", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_that_is_no_key_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(dkim.KeyInvalid, match=rf"s1\._domainkey\.{DOMAIN} is not a private key in PEM form"):
        dkim.load(DkimKey(domain=DOMAIN, selector="s1", key_file=path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(dkim.KeyInvalid, match=r"cannot be read: .*nowhere\.pem: No such file"):
        dkim.signers_for([DkimKey(domain=DOMAIN, selector="s1", key_file=tmp_path / "nowhere.pem")], DOMAIN)


@pytest.mark.parametrize(
    ("sender", "signs"),
    [
        (DOMAIN, True),
        ("Courrier.Example", True),
        (f"lettre.{DOMAIN}", True),
        (f"le{DOMAIN}", False),
        ("example", False),
        (f"{DOMAIN}.evil.example", False),
    ],
)
def test_a_key_signs_for_its_domain_and_those_below(sender: str, signs: bool, tmp_path: Path) -> None:
    key = write(tmp_path, ed25519.Ed25519PrivateKey.generate())
    assert [one.domain for one in dkim.signers_for([key], sender)] == [DOMAIN] * signs


def test_a_key_for_another_domain_need_not_even_be_readable(tmp_path: Path) -> None:
    assert dkim.signers_for([DkimKey(domain=DOMAIN, selector="s1", key_file=tmp_path / "none")], "other.example") == ()


def test_a_replaced_file_is_read_again_and_an_old_one_is_not(tmp_path: Path) -> None:
    (first,) = dkim.signers_for([key := write(tmp_path, ed25519.Ed25519PrivateKey.generate())], DOMAIN)
    assert dkim.signers_for([key], DOMAIN)[0] is first
    (second,) = dkim.signers_for([write(tmp_path, ed25519.Ed25519PrivateKey.generate())], DOMAIN)
    assert record(second) != record(first)


def test_no_key_is_shown_when_a_signer_is_printed(ed_signer: dkim.Signer) -> None:
    assert "private_key" not in repr(ed_signer)
