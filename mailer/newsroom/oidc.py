"""Signing in through another service by OpenID Connect: authorization code with PKCE, state and nonce. Talks to the network.

Only says who somebody is: which account that opens, and what it may, is ours to know.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import httpcore
import httpx
import jwt

from mailer import links, settings
from mailer.feeds import network
from mailer.links import Purpose
from mailer.mail_settings import LOOPBACK_HOSTS
from mailer.models.accounts import Role

RETURN_PATH: Final = "/admin/oidc/return"
# Between leaving for the other service and coming back.
LIFETIME: Final = timedelta(minutes=10)
_SECONDS: Final = 10.0
_LARGEST: Final = 512 * 1024
# Signed by the service's own key: what a shared secret or nobody has signed is no proof.
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")


class OidcFailed(Exception):
    """The other service can't be reached, or what it or the browser says can't be believed; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """Where to send the browser, and what it must bring back in a cookie."""

    url: str
    sealed: str


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Whom the other service vouches for: an address that it has verified."""

    email: str
    name: str
    leads_to: str


def is_on() -> bool:
    """Tell whether the settings name a service."""
    return bool(settings.load().oidc_issuer)


def role_for(email: str) -> Role | None:
    """Return the role of somebody who comes for the first time, by the domain of the address; None: they are not let in."""
    domain = email.rpartition("@")[2].lower()
    named = dict(one.strip().partition("=")[::2] for one in settings.load().oidc_domains.split(",") if "=" in one)
    chosen = named.get(domain, "").strip()
    return Role(chosen) if chosen in tuple(Role) else None


def begin(*, leads_to: str, now: datetime) -> Started:
    """Prepare a browser's way to the other service. Raises OidcFailed."""
    provider, chosen = _discover(), settings.load()
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "response_type": "code",
        "client_id": chosen.oidc_client_id,
        "redirect_uri": links.url(RETURN_PATH),
        "scope": "openid email profile",
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    kept = {"at": int(now.timestamp()), "state": state, "nonce": nonce, "verifier": verifier, "next": leads_to}
    joint = "&" if urlsplit(provider["authorization_endpoint"]).query else "?"
    return Started(
        url=f"{provider['authorization_endpoint']}{joint}{urlencode(asked)}",
        sealed=links.seal(Purpose.OIDC, json.dumps(kept)),
    )


def finish(*, sealed: str, state: str, code: str, now: datetime) -> Identity:
    """Find out who came back. Raises OidcFailed."""
    kept = _unsealed(sealed, now=now)
    if not state or not secrets.compare_digest(kept["state"].encode(), state.encode()):
        raise OidcFailed("The answer belongs to another attempt.")
    provider = _discover()
    claims = _claims(provider, _redeem(provider, code, kept["verifier"]))
    if not secrets.compare_digest(str(claims.get("nonce", "")).encode(), kept["nonce"].encode()):
        raise OidcFailed("The answer belongs to another attempt.")
    email = claims.get("email")
    if not isinstance(email, str) or claims.get("email_verified") is not True:
        raise OidcFailed("The other service has not verified the address.")
    return Identity(email=email, name=str(claims.get("name") or email.partition("@")[0]), leads_to=kept["next"])


def _unsealed(sealed: str, *, now: datetime) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(links.unseal(Purpose.OIDC, sealed))
    except links.TokenInvalid as error:
        raise OidcFailed("The browser brought nothing back.") from error
    if not 0 <= now.timestamp() - kept["at"] <= LIFETIME.total_seconds():
        raise OidcFailed("That took too long.")
    return kept


def _discover() -> dict[str, str]:
    """Ask the service for its addresses; they must be its own word, and encrypted."""
    issuer = settings.load().oidc_issuer
    found = _ask("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if found.get("issuer") != issuer:
        raise OidcFailed(f"The service calls itself {str(found.get('issuer'))[:200]!r}, not MAILER_OIDC_ISSUER.")
    provider: dict[str, str] = {}
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        provider[name] = _address(found.get(name))
    return provider


def _redeem(provider: Mapping[str, str], code: str, verifier: str) -> str:
    chosen = settings.load()
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": links.url(RETURN_PATH),
        "client_id": chosen.oidc_client_id,
        "code_verifier": verifier,
    }
    headers = {}
    if chosen.oidc_client_secret:
        # RFC 6749 2.3.1: both are form-encoded before they are joined.
        pair = f"{quote(chosen.oidc_client_id, safe='')}:{quote(chosen.oidc_client_secret, safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    token = _ask("POST", provider["token_endpoint"], data=form, headers=headers).get("id_token")
    if not isinstance(token, str):
        raise OidcFailed("The other service sent no identity.")
    return token


def _claims(provider: Mapping[str, str], token: str) -> dict[str, Any]:
    """Check signature, issuer, audience and dates of an identity; return what it says."""
    chosen = settings.load()
    try:
        header = jwt.get_unverified_header(token)
        keys = jwt.PyJWKSet.from_dict(_ask("GET", provider["jwks_uri"])).keys
        fitting = [key for key in keys if header.get("kid") in (None, key.key_id)]
        if header.get("alg") not in _ALGORITHMS or not fitting:
            raise OidcFailed("The identity is not signed by a key of the service.")
        required = ["exp", "iat", "iss", "aud", "sub"]
        claims: dict[str, Any] = jwt.decode(
            token,
            fitting[0],
            algorithms=[header["alg"]],
            audience=chosen.oidc_client_id,
            issuer=chosen.oidc_issuer,
            leeway=60,
            options={"require": required},
        )
    except jwt.PyJWTError as error:
        raise OidcFailed(f"The identity is not valid ({type(error).__name__}).") from error
    if isinstance(claims["aud"], list) and claims.get("azp", chosen.oidc_client_id) != chosen.oidc_client_id:
        raise OidcFailed("The identity was made for another program.")
    return claims


def _ask(
    method: str, url: str, *, data: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Ask the service for JSON, at a public address or a private one that the settings allow."""
    deadline = network.Deadline.after(_SECONDS)
    private = settings.load().webhook_private_networks
    try:
        with (
            network.open_client(deadline=deadline, connect_seconds=5, private_networks=private) as client,
            client.stream(method, _address(url), data=data, headers=headers) as response,
        ):
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _LARGEST:
                    raise OidcFailed("The answer of the other service is too long.")
    except network.AddressRefused as error:
        raise OidcFailed(
            "The service is at a private address; MAILER_WEBHOOK_PRIVATE_NETWORKS can allow it."
        ) from error
    except (network.NameUnknown, network.OutOfTime, httpx.HTTPError, OSError, *_HTTPCORE) as error:
        raise OidcFailed(f"The other service can’t be reached ({type(error).__name__}).") from error
    if response.status_code != httpx.codes.OK:
        raise OidcFailed(f"The other service answers {response.status_code}.")
    try:
        found = json.loads(bytes(body))
    except ValueError as error:
        raise OidcFailed("The other service does not answer in JSON.") from error
    if not isinstance(found, dict):
        raise OidcFailed("The other service does not answer in JSON.")
    return found


def _address(value: object) -> str:
    """Return an address that may be asked: https, or http on this very machine."""
    parts = urlsplit(str(value))
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS):
        return str(value)
    raise OidcFailed("The service has an address that is not https.")


_HTTPCORE: Final = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)
