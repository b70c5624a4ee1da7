"""The README's first command, for real: every process, the form, the mails, the schedule."""

import json
import os
import subprocess
import sys
from email import message_from_bytes, policy
from pathlib import Path

import pytest

RUSSIAN = """<?xml version="1.0" encoding="windows-1251"?>
<rss version="2.0"><channel><title>Вестник</title><link>https://vestnik.example/</link>
<item><title>Озеро Балхаш мелеет</title><link>https://vestnik.example/balkhash</link>
<description>Рыбаки считают дни.</description></item>
<item><title>Ночной поезд в Самарканд</title><link>https://vestnik.example/poezd</link></item>
</channel></rss>""".encode("windows-1251")

JSON_FEED = json.dumps(
    {
        "version": "https://jsonfeed.org/version/1.1",
        "title": "Steppe",
        "items": [
            {"id": "1", "url": "https://steppe.example/1", "title": "A single story", "content_text": "Long ago."}
        ],
    }
).encode()


def demo(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAILER_", "DATABASE_", "REDIS_"))
    }
    command = [
        sys.executable,
        "-m",
        "mailer",
        "--json",
        "demo",
        "--once",
        "--outbox",
        str(tmp_path / "outbox"),
        *arguments,
    ]
    return subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=170, check=False
    )


def mails(tmp_path: Path) -> list[tuple[str, str]]:
    """Name and text of every mail in the outbox."""
    found = []
    for path in sorted((tmp_path / "outbox").glob("*.eml")):
        body = message_from_bytes(path.read_bytes(), policy=policy.default).get_body(("plain",))
        assert body is not None
        found.append((path.name, body.get_content()))
    return found


def test_the_sample_publication_from_feed_to_inbox(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [issue["articles"] for issue in result["issues"]] == [12, 2]
    for issue, recipients in zip(result["issues"], (3, 2), strict=True):
        assert issue["recipients"] == recipients
        assert issue["recipients"] == issue["accepted"] + issue["refused"] + issue["skipped"] + issue["uncertain"]
    names = [name for name, _ in mails(tmp_path)]
    assert len([name for name in names if "confirm" in name]) == 3
    assert len([name for name in names if "issue" in name]) == 5
    assert len([name for name in names if "issue-ainoura" in name]) == 1
    assert result["seconds"] < 90


@pytest.mark.parametrize(
    ("name", "content", "title"),
    [
        ("feed.xml", RUSSIAN, "Озеро Балхаш мелеет"),
        pytest.param("feed.json", JSON_FEED, "A single story", marks=pytest.mark.slow),
    ],
)
def test_an_operators_own_feed_in_its_own_encoding(tmp_path: Path, name: str, content: bytes, title: str) -> None:
    (tmp_path / name).write_bytes(content)
    done = demo(tmp_path, "--feed", name)
    assert done.returncode == 0, done.stderr
    assert any(title in text for mail, text in mails(tmp_path) if "issue" in mail)


def test_a_file_that_is_no_feed_ends_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_bytes(b"<!doctype html><title>Hello</title><p>Not a feed")
    done = demo(tmp_path, "--feed", "page.html")
    assert done.returncode == 1
    assert "web page" in done.stderr
