"""Wrong settings stop the start with one sentence that names the setting."""

from pathlib import Path

import pytest

from mailer import settings

pytestmark = pytest.mark.usefixtures("environment")


def load(monkeypatch: pytest.MonkeyPatch, **values: str) -> settings.Settings:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings.load.cache_clear()
    return settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "sqlite:///x"),
        ("REDIS_URL", "localhost:6379"),
        ("MAILER_SECRET_KEY", "short"),
        ("MAILER_PUBLIC_URL", "http://lettre.example"),
        ("MAILER_PUBLIC_URL", "https://lettre.example/path"),
        ("MAILER_SMTP_URL", "mail.example"),
        ("MAILER_SMTP_URL", "smtp://user:secret@mail.example"),
        ("MAILER_SMTP_URL", "smtp://mail.example:99999"),
        ("MAILER_SMTP_URL", "smtps://u:p@mail.example?auth=ntlm"),
        ("MAILER_SMTP_CONNECTIONS", "many"),
        ("MAILER_HELO_NAME", "a name"),
        ("MAILER_TRANSPORTS", '[{"name": "a", "url": "nowhere"}]'),
        ("MAILER_TRANSPORTS", '[{"name": "a", "url": "smtp://a.example"}, {"name": "a", "url": "smtp://b.example"}]'),
        ("MAILER_TRANSPORTS", '[{"name": "a", "url": "smtp://a.example", "domains": ["b.example"]}]'),
        ("MAILER_TRANSPORTS", '[{"name": "a", "url": "smtp://a.example", "per_secnod": 3}]'),
        ("MAILER_DOMAINS", '[{"names": []}]'),
        ("MAILER_DKIM", '[{"domain": "b.example", "selector": "s"}]'),
        ("MAILER_FEED_PRIVATE_NETWORKS", "10.0.0.0/99"),
        ("MAILER_TICK_SECONDS", "0"),
    ],
)
def test_the_sentence_names_the_setting(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(settings.SettingsInvalid) as wrong:
        load(monkeypatch, **{name: value})
    sentence = str(wrong.value)
    assert sentence.startswith(name)
    assert "\n" not in sentence
    assert "secret" not in sentence.removeprefix(name)


def test_a_missing_setting_is_named_with_what_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    with pytest.raises(settings.SettingsInvalid, match=r"^DATABASE_URL is not set"):
        load(monkeypatch)


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mailer.toml").write_text("smtp_connections = 3\nbatch_size = 7\n")
    loaded = load(monkeypatch, MAILER_SMTP_CONNECTIONS="5")
    assert (loaded.smtp_connections, loaded.batch_size) == (5, 7)


def test_a_broken_file_is_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mailer.toml").write_text("smtp_connections = = 3\n")
    with pytest.raises(settings.SettingsInvalid, match=r"mailer\.toml"):
        load(monkeypatch)


def test_no_secret_is_shown_when_settings_are_printed() -> None:
    shown = repr(settings.load())
    assert "a secret for tests" not in shown


def test_several_transports_are_read_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILER_SMTP_URL")
    (tmp_path / "mailer.toml").write_text(
        """
[[transports]]
name = "main"
url = "smtp+starttls://u:p@mail.example"
per_second = 50
warm_up_from = 2026-12-01

[[transports]]
name = "partner"
url = "smtps://relay.partner.example"
domains = ["partner.example", "*.partner.example"]

[[domains]]
names = ["gmail.com", "googlemail.com"]
per_second = 20
""",
        encoding="utf-8",
    )
    chosen = load(monkeypatch)
    assert [one.name for one in chosen.routes] == ["main", "partner"]
    assert chosen.domains[0].per_second == 20


def test_a_server_address_in_a_table_is_named_by_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(settings.SettingsInvalid, match=r"^MAILER_TRANSPORTS\[0\]\.url must be smtp"):
        load(monkeypatch, MAILER_TRANSPORTS='[{"name": "a", "url": "nowhere"}]')


def test_without_any_server_the_desk_may_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILER_SMTP_URL")
    assert load(monkeypatch).routes == ()
