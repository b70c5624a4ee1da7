"""Every setting, read once from the environment or mailer.toml and checked before anything starts."""

import functools
import os
import tomllib
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import TomlConfigSettingsSource

from mailer import setting_types
from mailer.issues import findings
from mailer.mail_settings import (
    DkimKey,
    DomainLimits,
    MailboxUrl,
    ReturnMailbox,
    SmtpUrl,
    TokenMailbox,
    Transport,
)
from mailer.setting_types import DatabaseUrl, HostName, Networks, PublicUrl, RedisUrl


class SettingsInvalid(Exception):
    """A setting is missing or wrong; the message is one sentence that names it."""


class Settings(BaseSettings):
    """The operator's choices. Each field's environment variable is its alias; mailer.toml uses the field's name."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True, validate_default=True)

    database_url: DatabaseUrl = Field(
        alias="DATABASE_URL", repr=False, description="PostgreSQL address, postgresql://user:password@host/name."
    )
    redis_url: RedisUrl = Field(
        alias="REDIS_URL", repr=False, description="Redis or Valkey address, redis://host:6379/0 or unix:///path."
    )
    secret_key: str = Field(
        alias="MAILER_SECRET_KEY",
        min_length=32,
        repr=False,
        description="At least 32 random characters; signs every link. Changing it breaks the links in mails already sent.",
    )
    public_url: PublicUrl = Field(
        alias="MAILER_PUBLIC_URL",
        description="Where readers reach this service, https://lettre.example, without a path.",
    )
    smtp_url: SmtpUrl | None = Field(
        None,
        alias="MAILER_SMTP_URL",
        repr=False,
        description="Where mail is handed over, smtps://user:password@host:port; not set: as Settings, Sending, of the desk say.",
    )
    smtp_connections: int = Field(
        10, ge=1, le=1000, alias="MAILER_SMTP_CONNECTIONS", description="SMTP connections per worker process."
    )
    smtp_timeout_seconds: float = Field(
        300,
        gt=0,
        le=3600,
        alias="MAILER_SMTP_TIMEOUT_SECONDS",
        description="Longest wait for one SMTP reply; the one to a message's final dot may take twice as long.",
    )
    transports: tuple[Transport, ...] = Field(
        (),
        alias="MAILER_TRANSPORTS",
        description="Several SMTP servers with order, share, limits and domains, in place of MAILER_SMTP_URL.",
    )
    domains: tuple[DomainLimits, ...] = Field(
        (), alias="MAILER_DOMAINS", description="Limits for the recipients of single providers."
    )
    dkim: tuple[DkimKey, ...] = Field(
        (), alias="MAILER_DKIM", description="Keys that sign mail, for relays that do not: domain, selector, key_file."
    )
    helo_name: HostName | None = Field(
        None, alias="MAILER_HELO_NAME", description="Name said in EHLO; default is the host of MAILER_PUBLIC_URL."
    )
    journal_dir: Path = Field(
        Path(".mailer/journal"),
        alias="MAILER_JOURNAL_DIR",
        description="Local disk folder of the sending journal; one per machine, kept over restarts.",
    )
    templates_dir: Path | None = Field(
        None, alias="MAILER_TEMPLATES_DIR", description="Folder whose mail templates replace the shipped ones."
    )
    batch_size: int = Field(
        500, ge=1, le=10_000, alias="MAILER_BATCH_SIZE", description="Deliveries that a worker claims at once."
    )
    lease_seconds: float = Field(
        60,
        ge=2,
        le=3600,
        alias="MAILER_LEASE_SECONDS",
        description="How long a claimed batch stays with a silent worker.",
    )
    takeover_seconds: float = Field(
        120,
        ge=2,
        le=86_400,
        alias="MAILER_TAKEOVER_SECONDS",
        description="How much longer a silent batch of another host is left to that host, whose disk knows what it sent.",
    )
    tick_seconds: float = Field(
        5, ge=0.2, le=60, alias="MAILER_TICK_SECONDS", description="How often beat looks for due work."
    )
    undo_seconds: int = Field(
        60,
        ge=0,
        le=600,
        alias="MAILER_UNDO_SECONDS",
        description="How long an issue that is sent now can be taken back before it leaves.",
    )
    tests_per_hour: int = Field(
        60, ge=1, le=10_000, alias="MAILER_TESTS_PER_HOUR", description="Test mails of issues in an hour, at most."
    )
    schedule_grace_hours: float = Field(
        6,
        gt=0,
        le=168,
        alias="MAILER_SCHEDULE_GRACE_HOURS",
        description="A slot found later than this is late; the newsletter’s when_late says whether it is still sent.",
    )
    retry_hours: float = Field(
        72, gt=0, le=168, alias="MAILER_RETRY_HOURS", description="How long a deferred delivery is tried again."
    )
    feed_minutes: float = Field(
        15, ge=0.05, le=1440, alias="MAILER_FEED_MINUTES", description="How often a feed is read."
    )
    feed_private_networks: Networks = Field(
        (),
        alias="MAILER_FEED_PRIVATE_NETWORKS",
        description="Private networks that feeds may be read from, 10.1.0.0/16,127.0.0.0/8; default none.",
    )
    check_pages: bool = Field(
        True,
        alias="MAILER_CHECK_PAGES",
        description="Look at articles' pages: an issue takes none whose page is gone, and what the feed lacks is found.",
    )
    checks_block: Annotated[tuple[findings.Code, ...] | None, NoDecode, BeforeValidator(setting_types.split)] = Field(
        None,
        alias="MAILER_CHECKS_BLOCK",
        description="Findings that keep an issue from leaving, left_over,link_gone; default see docs/operating.md.",
    )
    check_links: bool = Field(
        True,
        alias="MAILER_CHECK_LINKS",
        description="Whether the checks before sending ask a mail's links and pictures over the network.",
    )
    unsubscribe_mailbox: TokenMailbox | None = Field(
        None,
        alias="MAILER_UNSUBSCRIBE_MAILBOX",
        description="Mailbox that reads mails to unsubscribe+…, unsubscribe@lettre.example; then List-Unsubscribe names it too.",
    )
    bounce_address: ReturnMailbox | None = Field(
        None,
        alias="MAILER_BOUNCE_ADDRESS",
        description="Mailbox that mails come back to, each to bounces+…, bounces@lettre.example; see docs/bounces.md.",
    )
    bounce_mailbox_url: MailboxUrl | None = Field(
        None,
        alias="MAILER_BOUNCE_MAILBOX_URL",
        repr=False,
        description="Where workers read that mailbox: imaps://user:password@host/INBOX, or pop3s://user:password@host.",
    )
    soft_bounces: int = Field(
        5,
        ge=1,
        le=100,
        alias="MAILER_SOFT_BOUNCES",
        description="So many soft bounces in a row end a reader’s subscriptions.",
    )
    soft_bounce_days: int = Field(
        14,
        ge=0,
        le=400,
        alias="MAILER_SOFT_BOUNCE_DAYS",
        description="The first of those soft bounces must be at least so old.",
    )
    keep_events_days: int = Field(
        90,
        ge=1,
        le=400,
        alias="MAILER_KEEP_EVENTS_DAYS",
        description="How long single opens and clicks are kept before they become sums by day.",
    )
    sandbox: bool = Field(
        False,
        alias="MAILER_SANDBOX",
        description="True when mail is caught by the local inbox: pages say that nothing leaves.",
    )
    inbox_url: str | None = Field(
        None, alias="MAILER_INBOX_URL", description="Address of the local inbox's page, shown while in the sandbox."
    )
    inbox_smtp_url: SmtpUrl | None = Field(
        None,
        alias="MAILER_INBOX_SMTP_URL",
        description="Where the local inbox takes mail, smtp://127.0.0.1:1025, once Settings, Sending, turn the sandbox on.",
    )
    signups_per_network: int = Field(
        30,
        ge=1,
        alias="MAILER_SIGNUPS_PER_NETWORK",
        description="Sign-ups that one network (/24 or /48) may send in ten minutes; beyond it a page says to wait.",
    )
    signups_per_address: int = Field(
        6, ge=1, alias="MAILER_SIGNUPS_PER_ADDRESS", description="Sign-ups a day of one mailbox that are looked at."
    )
    signups_per_domain: int = Field(
        200,
        ge=1,
        alias="MAILER_SIGNUPS_PER_DOMAIN",
        description="Sign-ups an hour of addresses of one domain; large providers may have ten times as many.",
    )
    signups_per_hour: int = Field(
        3000, ge=1, alias="MAILER_SIGNUPS_PER_HOUR", description="Sign-ups an hour in all; beyond it none is taken."
    )
    confirmations_per_day: int = Field(
        3,
        ge=1,
        le=50,
        alias="MAILER_CONFIRMATIONS_PER_DAY",
        description="Confirmation mails a day to one address, over all newsletters.",
    )
    form_seconds: float = Field(
        2,
        ge=0,
        le=60,
        alias="MAILER_FORM_SECONDS",
        description="A form that comes back sooner than this after it was shown is a robot's, and nothing happens.",
    )
    proof_of_work: bool = Field(
        False,
        alias="MAILER_PROOF_OF_WORK",
        description="Have the browser calculate for about a second before it signs up; the form then needs JavaScript.",
    )
    confirm_share: float = Field(
        0.3,
        ge=0,
        le=1,
        alias="MAILER_CONFIRM_SHARE",
        description="Warn when a smaller part of the last day's sign-ups than this was confirmed; 0 never.",
    )
    api_calls_per_minute: int = Field(
        600, ge=1, le=1_000_000, alias="MAILER_API_CALLS_PER_MINUTE", description="API calls a minute of one token."
    )
    webhook_seconds: float = Field(
        10, gt=0, le=30, alias="MAILER_WEBHOOK_SECONDS", description="How long a webhook may take to answer."
    )
    webhook_private_networks: Networks = Field(
        (),
        alias="MAILER_WEBHOOK_PRIVATE_NETWORKS",
        description="Private networks that webhooks may be in, 10.0.0.0/8; default none.",
    )
    oidc_issuer: str = Field(
        "", alias="MAILER_OIDC_ISSUER", description="Address of an OpenID Connect service to sign in by."
    )
    oidc_client_id: str = Field("", alias="MAILER_OIDC_CLIENT_ID", description="Our name there.")
    oidc_client_secret: str = Field("", repr=False, alias="MAILER_OIDC_CLIENT_SECRET", description="Our secret there.")
    oidc_domains: str = Field(
        "",
        alias="MAILER_OIDC_DOMAINS",
        description="Roles of newcomers by domain, courrier.example=viewer; default none.",
    )
    trusted_proxies: Networks = Field(
        (),
        alias="MAILER_TRUSTED_PROXIES",
        description="Reverse proxies whose X-Forwarded-For is believed, 10.0.0.0/8; default none.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over mailer.toml."""
        toml = TomlConfigSettingsSource(settings_cls, config_file())
        return init_settings, env_settings, toml

    @field_validator("transports")
    @classmethod
    def _names_differ(cls, value: tuple[Transport, ...]) -> tuple[Transport, ...]:
        names = [one.name for one in value]
        if len(set(names)) < len(names):
            raise ValueError("must each have a name of their own")
        if value and all(one.domains for one in value):
            raise ValueError("need one without domains, for all other recipients")
        return value

    @model_validator(mode="after")
    def _renewable_lease(self) -> "Settings":
        if self.lease_seconds < 2 * self.tick_seconds and self.lease_seconds < 10:
            raise ValueError("MAILER_LEASE_SECONDS must be at least twice MAILER_TICK_SECONDS")
        return self

    @property
    def routes(self) -> tuple[Transport, ...]:
        """The SMTP servers that the settings name: `transports`, or the one of smtp_url; none: those entered at the desk."""
        if self.transports or self.smtp_url is None:
            return self.transports
        return (Transport(name="smtp", url=self.smtp_url, connections=self.smtp_connections),)

    @property
    def blocking(self) -> frozenset[findings.Code]:
        """The findings that keep an issue from leaving."""
        return frozenset(findings.BLOCKING if self.checks_block is None else self.checks_block)

    @property
    def public_host(self) -> str:
        """Name of the host in public_url."""
        return urlsplit(self.public_url).hostname or ""

    @property
    def broker_url(self) -> str:
        """The Redis address in the form that Celery's transport understands."""
        if self.redis_url.startswith("unix://"):
            path, _, query = self.redis_url.removeprefix("unix://").partition("?")
            database = dict(part.split("=", 1) for part in query.split("&") if "=" in part).get("db", "0")
            return f"redis+socket://{path}?virtual_host={database}"
        return self.redis_url


def config_file() -> Path:
    """Name the settings file: MAILER_CONFIG, else mailer.toml in the working directory; it need not exist."""
    return Path(os.environ.get("MAILER_CONFIG", "mailer.toml"))


@functools.cache
def load() -> Settings:
    """Read and check every setting once a process; raise SettingsInvalid with one sentence naming the first wrong one."""
    try:
        return Settings()  # type: ignore[call-arg]
    except ValidationError as error:
        raise SettingsInvalid(_sentence(error)) from None
    except (OSError, ValueError) as error:
        raise SettingsInvalid(f"{config_file()} cannot be read: {error}") from error


def source(name: str) -> str:
    """Tell where a setting's value comes from: "environment", the settings file's name, or "default"."""
    alias = str(Settings.model_fields[name].alias)
    if any(variable.upper() == alias for variable in os.environ):
        return "environment"
    path = config_file()
    written = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return path.name if name in written or alias in written else "default"


def check(values: dict[str, str]) -> None:
    """Check values by field name before they are written down. Raises SettingsInvalid."""
    try:
        Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsInvalid(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    alias = next((str(f.alias) for name, f in Settings.model_fields.items() if field in (name, f.alias)), field)
    # Inside a table: MAILER_TRANSPORTS[0].url.
    alias += "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"][1:])
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        about = next((f.description for f in Settings.model_fields.values() if f.alias == alias), "it has no default")
        reason = f"is not set ({about})"
    elif not alias:
        return f"{reason}."
    sentence = f"{alias} {reason[0].lower()}{reason[1:]}" if alias else reason
    return sentence if sentence.endswith((".", ")")) else f"{sentence}."
