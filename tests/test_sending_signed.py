"""Mail that leaves with DKIM keys set, as the server takes it."""

import base64
import json
from pathlib import Path

import dkim as dkimpy
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mailer import clock, issues, newsletters, sending, settings, signups
from mailer.db import transaction
from mailer.models.content import IssueState
from tests.conftest import SmtpInbox
from tests.factories import a_signup
from tests.started import started_issue

Keys = dict[str, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey]


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """An RSA and an Ed25519 key that the settings name."""
    made: Keys = {
        "r1": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "e1": ed25519.Ed25519PrivateKey.generate(),
    }
    named = []
    for selector, key in made.items():
        path = tmp_path / f"{selector}.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)
        named.append({"domain": "courrier.example", "selector": selector, "key_file": str(path)})
    monkeypatch.setenv("MAILER_DKIM", json.dumps(named))
    settings.load.cache_clear()
    return made


def record(keys: Keys, name: bytes) -> bytes:
    """Answer as DNS would for a selector."""
    key = keys[name.decode().split(".")[0]]
    if isinstance(key, rsa.RSAPrivateKey):
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def test_issues_and_confirmations_carry_both_signatures_and_they_verify(installation: SmtpInbox, keys: Keys) -> None:
    started_issue(3)
    with transaction() as session:
        request_id = a_signup(session, newsletters.get(session, "courrier"), now=clock.now())
        signups.handle(session, request_id, now=clock.now())
    sending.send_due(budget_seconds=10)
    assert len(installation.messages) == 4
    for one in installation.messages:
        for index in (0, 1):
            verifier = dkimpy.DKIM(one.content)
            assert verifier.verify(idx=index, dnsfunc=lambda name, **_: record(keys, name))
        assert one.content.count(b"DKIM-Signature:") == 2


def test_a_key_that_vanished_pauses_the_issue_and_nothing_leaves_unsigned(
    installation: SmtpInbox, keys: Keys, tmp_path: Path
) -> None:
    issue_id = started_issue(3)
    (tmp_path / "r1.pem").unlink()
    sending.send_due(budget_seconds=5)
    with transaction() as session:
        stopped = issues.get(session, issue_id)
        assert (stopped.state, stopped.state_code) == (IssueState.PAUSED, "signing_failed")
        assert "r1.pem" in (stopped.state_reason or "")
    assert installation.messages == []
