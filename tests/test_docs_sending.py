"""The commands of docs/sending.md make keys that sign, and print the records that belong to them."""

import base64
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mailer import settings
from mailer.mail import dkim
from mailer.mail_settings import DkimKey
from tests.source import ROOT

DOCUMENT = ROOT / "docs" / "sending.md"
OPENSSL = shutil.which("openssl")


def tables() -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.usefixtures("environment")
def test_every_table_in_it_is_a_valid_mailer_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_CONFIG", str(tmp_path / "mailer.toml"))
    for table in tables():
        (tmp_path / "mailer.toml").write_text(table, encoding="utf-8")
        settings.load.cache_clear()
        assert settings.load().transports or settings.load().dkim


@pytest.mark.skipif(OPENSSL is None, reason="no openssl to run the document's commands")
def test_its_commands_make_keys_and_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    printed = [
        subprocess.run(
            ["sh", "-c", one], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]}
        ).stdout
        for one in commands
    ]
    for selector, record in (("r1", printed[-2]), ("e1", printed[-1])):
        key = DkimKey(domain="courrier.example", selector=selector, key_file=Path(f"{selector}.pem"))
        public = dkim.load(key).private_key.public_key()
        if selector == "r1":
            expected = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            expected = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        assert base64.b64decode(record) == expected
