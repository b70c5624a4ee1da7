"""What an operator may say about handing mail over, beyond one server's address: tables of mailer.toml.

`[[transports]]` are SMTP servers with their limits, `[[domains]]` limits for recipients' providers, `[[dkim]]` keys.
"""

import datetime
import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

SMTP_SCHEMES = ("smtp", "smtps", "smtp+starttls")
MAILBOX_SCHEMES = ("imaps", "pop3s", "imap", "pop3")
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
LOGINS = ("plain", "login", "cram-md5", "xoauth2")

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Domain = Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


def check_smtp_url(value: str) -> str:
    """Check an SMTP server's address; raise ValueError with the rest of a sentence."""
    parts = urlsplit(value)
    if parts.scheme not in SMTP_SCHEMES or not parts.hostname or not _has_port_or_none(parts):
        raise ValueError("must be smtp://, smtp+starttls:// or smtps:// with a host, and perhaps a port")
    if parts.scheme == "smtp" and parts.username and parts.hostname not in LOOPBACK_HOSTS:
        raise ValueError("would send the password in clear; use smtp+starttls:// or smtps://")
    options = parse_qs(parts.query)
    if set(options) - {"auth"} or any(one not in LOGINS for one in options.get("auth", [])):
        raise ValueError(f"may only end in ?auth= and one of {', '.join(LOGINS)}")
    return value


def _has_port_or_none(parts: SplitResult) -> bool:
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


SmtpUrl = Annotated[str, AfterValidator(check_smtp_url)]


def check_mailbox_url(value: str) -> str:
    """Check the address of a mailbox that is read; raise ValueError with the rest of a sentence."""
    parts = urlsplit(value)
    if parts.scheme not in MAILBOX_SCHEMES or not parts.hostname or not parts.username or not _has_port_or_none(parts):
        raise ValueError("must be imaps://user:password@host/INBOX or pop3s://user:password@host")
    if parts.scheme in ("imap", "pop3") and parts.hostname not in LOOPBACK_HOSTS:
        raise ValueError("would send the password in clear; use imaps:// or pop3s://")
    return value


MailboxUrl = Annotated[str, AfterValidator(check_mailbox_url)]


def _mailbox(longest: int) -> AfterValidator:
    """Check a plain address, of whose 64 characters before the @ (RFC 5321 4.5.3.1.1) a token takes its part."""

    def check(value: str) -> str:
        if not re.fullmatch(rf"[A-Za-z0-9._-]{{1,{longest}}}@[A-Za-z0-9.-]+\.[A-Za-z]{{2,63}}", value):
            raise ValueError(f"must be a plain address, at most {longest} characters before the @")
        return value

    return AfterValidator(check)


# Tokens of 48 and of 36 characters and the + before them.
TokenMailbox = Annotated[str, _mailbox(15)]
ReturnMailbox = Annotated[str, _mailbox(27)]


class Limits(BaseModel):
    """How much may go out; None is no limit. All workers of all hosts share them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_second: float | None = Field(default=None, gt=0, le=100_000)
    per_hour: int | None = Field(default=None, ge=1)
    per_day: int | None = Field(default=None, ge=1)


class Transport(Limits):
    """An SMTP server that mail is handed over to.

    Of those that answer and are within their limits, the lowest `order` is used; equal ones share by `share`. One with
    `domains` is for recipients there only, who take the others while it does not serve.
    """

    name: Name
    url: SmtpUrl = Field(repr=False)
    order: int = Field(default=1, ge=1, le=100)
    share: int = Field(default=1, ge=1, le=100)
    domains: tuple[Domain, ...] = ()
    connections: int = Field(default=10, ge=1, le=1000)
    connections_in_all: int | None = Field(default=None, ge=1)
    token_file: Path | None = None
    warm_up_from: datetime.date | None = None
    warm_up_first_day: int = Field(default=500, ge=1)
    warm_up_growth: float = Field(default=1.5, gt=1, le=10)

    @model_validator(mode="after")
    def _token_has_user(self) -> Self:
        parts = urlsplit(self.url)
        if self.token_file is not None and not parts.username:
            raise ValueError(f"token_file of transport {self.name} needs a user in its url")
        if "auth=xoauth2" in parts.query and not (parts.password or self.token_file):
            raise ValueError(f"transport {self.name} needs a token_file for ?auth=xoauth2")
        return self


class DomainLimits(Limits):
    """Limits for the recipients of one provider, who share them: `names` may contain *.example.org."""

    names: tuple[Domain, ...] = Field(min_length=1)
    connections_in_all: int | None = Field(default=None, ge=1)


class DkimKey(BaseModel):
    """A key that signs the mail of one sender domain (RFC 6376): a PEM file, RSA or Ed25519."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
    selector: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
    key_file: Path
