"""What single settings may be: types that check a value and say in half a sentence what it must be."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from mailer.mail_settings import LOOPBACK_HOSTS

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def split(value: object) -> object:
    """Read a list that is written with commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _postgresql_only(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise ValueError("must start with postgresql://")
    return f"postgresql+psycopg://{rest}"


def _redis_only(value: str) -> str:
    if not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must start with redis://, rediss:// or unix://")
    return value


def _https_unless_loopback(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError("must be an address such as https://lettre.example, without a path")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
        raise ValueError("must be https:// (one-click unsubscribe, RFC 8058, allows nothing else)")
    return value.rstrip("/")


def _name_or_address(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", value):
        return value
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("must be a host's full name, lettre.example, or its IP address") from None
    return value


DatabaseUrl = Annotated[str, AfterValidator(_postgresql_only)]
RedisUrl = Annotated[str, AfterValidator(_redis_only)]
PublicUrl = Annotated[str, AfterValidator(_https_unless_loopback)]
HostName = Annotated[str, AfterValidator(_name_or_address)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(split)]
