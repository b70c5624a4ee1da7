"""How we log in to an SMTP server (RFC 4954): PLAIN, LOGIN, CRAM-MD5 and XOAUTH2. No secret is in what is raised."""

import base64
import binascii
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from mailer.delivery.transports.replies import SHOWN_CHARACTERS, Reply

# The ones that send the password itself come first: every caller has TLS by then, and servers that keep no password
# in clear can't check the other.
ORDER: Final[tuple[str, ...]] = ("PLAIN", "LOGIN", "CRAM-MD5")
# All that may be said where others can listen.
IN_CLEAR: Final = frozenset({"CRAM-MD5"})

# Sends one line, without its CR LF, and waits for the reply.
Converse = Callable[[str], Reply]

_REMEDIES: Final = {
    "5.7.9": "this account needs a password made for one application (an app password)",
    "5.7.30": "password logins are switched off there: use ?auth=xoauth2 with a token_file",
    "5.7.139": "password logins are switched off there: allow them for this account, or use ?auth=xoauth2 with a token_file",
    530: "it wants TLS first: use smtp+starttls:// or smtps://",
    538: "it wants TLS first: use smtp+starttls:// or smtps://",
    504: "choose another way with ?auth= at the end of its URL",
}


class LoginRefused(Exception):
    """The server does not let us in, and won't until an operator changes something."""


class LoginDeferred(Exception):
    """The server can't check the login now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """Who logs in, and the password, or the access token for XOAUTH2."""

    username: str
    secret: str = field(repr=False)


def log_in(
    converse: Converse,
    offered: frozenset[str],
    credentials: Credentials,
    *,
    forced: str | None = None,
    protected: bool = True,
) -> None:
    """Log in by the first way that the server offers, or by the forced one even if it isn't offered.

    `protected` tells that nobody can listen (TLS, or the same machine); else only CRAM-MD5 is used. XOAUTH2 is used
    when forced and never by itself. Raises LoginRefused (5yz; with what to do) or LoginDeferred (4yz).
    """
    methods = [forced.upper()] if forced else [one for one in ORDER if one in offered]
    usable = [one for one in methods if protected or one in IN_CLEAR]
    if not usable:
        raise LoginRefused(_why_none(methods, offered))
    for method in usable:
        reply, details = _DIALOGUES[method](converse, credentials)
        if reply.code // 100 == 2:
            return
        if reply.code != 504:  # 504: it offers this way and doesn't know it
            break
    words = f"answered the login ({method}) with {_without_secrets(reply, details, credentials)}"
    if reply.code // 100 == 4:
        raise LoginDeferred(words)
    raise LoginRefused(f"{words}; {_remedy(reply, method)}")


def _why_none(methods: list[str], offered: frozenset[str]) -> str:
    if methods:
        return "would get the password in clear; use smtp+starttls:// or smtps://"
    if not offered:
        return "offers no login here; use smtp+starttls:// or smtps://, or take user and password out of its URL"
    return f"offers no login that we know (it offers {', '.join(sorted(offered))})"[:SHOWN_CHARACTERS]


def _remedy(reply: Reply, method: str) -> str:
    if method == "XOAUTH2":
        return "renew the access token, and check that it may send mail for this user"
    return (
        _REMEDIES.get(reply.enhanced) or _REMEDIES.get(reply.code) or "check the user name and the password in its URL"
    )


def _without_secrets(reply: Reply, details: str, credentials: Credentials) -> str:
    """Return the server's words, which may hold anything that we said to it."""
    words = f"{reply.code} {reply.text}" + (f" ({details})" if details else "")
    for said in (_plain(credentials), _xoauth2(credentials), _base64(credentials.secret), credentials.secret):
        if said:
            words = words.replace(said, "***")
    return words[:SHOWN_CHARACTERS]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _plain(credentials: Credentials) -> str:
    return _base64(f"\0{credentials.username}\0{credentials.secret}")


def _xoauth2(credentials: Credentials) -> str:
    return _base64(f"user={credentials.username}\1auth=Bearer {credentials.secret}\1\1")


def _log_in_plain(converse: Converse, credentials: Credentials) -> tuple[Reply, str]:
    reply = converse(f"AUTH PLAIN {_plain(credentials)}")
    if reply.code == 334:  # it did not read what came along with the command
        reply = converse(_plain(credentials))
    return reply, ""


def _log_in_login(converse: Converse, credentials: Credentials) -> tuple[Reply, str]:
    reply = converse("AUTH LOGIN")
    for answer in (credentials.username, credentials.secret):
        if reply.code != 334:
            break
        reply = converse(_base64(answer))
    return reply, ""


def _log_in_cram_md5(converse: Converse, credentials: Credentials) -> tuple[Reply, str]:
    reply = converse("AUTH CRAM-MD5")
    if reply.code != 334:
        return reply, ""
    try:
        challenge = base64.b64decode(reply.text.replace(" ", ""), validate=True)
    except binascii.Error:
        raise LoginRefused("sent a challenge for CRAM-MD5 that can't be read") from None
    digest = hmac.new(credentials.secret.encode(), challenge, "md5").hexdigest()
    return converse(_base64(f"{credentials.username} {digest}")), ""


def _log_in_xoauth2(converse: Converse, credentials: Credentials) -> tuple[Reply, str]:
    reply = converse(f"AUTH XOAUTH2 {_xoauth2(credentials)}")
    if reply.code != 334:
        return reply, ""
    # What is wrong comes as a challenge; the refusal itself only after an empty answer.
    details = _token_error(reply.text)
    return converse(""), details


def _token_error(challenge: str) -> str:
    try:
        said = json.loads(base64.b64decode(challenge.replace(" ", ""), validate=True))
    except ValueError:
        return "it does not say why"
    pairs = said.items() if isinstance(said, dict) else [("said", said)]
    words = ", ".join(f"{name} {value}" for name, value in pairs)
    return "".join(one if one.isprintable() else " " for one in words)


_DIALOGUES: Final[dict[str, Callable[[Converse, Credentials], tuple[Reply, str]]]] = {
    "PLAIN": _log_in_plain,
    "LOGIN": _log_in_login,
    "CRAM-MD5": _log_in_cram_md5,
    "XOAUTH2": _log_in_xoauth2,
}
