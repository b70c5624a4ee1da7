"""Signing in through another service: who is let in, and what is not believed."""

from collections.abc import Iterator
from typing import Final

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from mailer import settings
from mailer.db import transaction
from mailer.models.accounts import Role
from mailer.newsroom import accounts
from tests.conftest import SmtpInbox
from tests.desk import running_desk
from tests.oidc_server import Service, running
from tests.web_site import Site

CAMILLE = {"email": "Camille@courrier.example", "email_verified": True, "name": "Camille"}


@pytest.fixture
def service() -> Iterator[Service]:
    with running() as one:
        one.claims = dict(CAMILLE)
        yield one


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch, service: Service) -> Iterator[Site]:
    monkeypatch.setenv("MAILER_OIDC_ISSUER", service.issuer)
    monkeypatch.setenv("MAILER_OIDC_CLIENT_ID", "newsroom")
    monkeypatch.setenv("MAILER_OIDC_CLIENT_SECRET", "s:ecret")
    monkeypatch.setenv("MAILER_OIDC_DOMAINS", "courrier.example=writer, other.example=god")
    monkeypatch.setenv("MAILER_WEBHOOK_PRIVATE_NETWORKS", "127.0.0.0/8")
    with running_desk(monkeypatch) as one:
        yield one


def away(site: Site, **asked: str) -> str:
    """Leave for the service and come back; the address with which the browser comes."""
    sent = site.client.get("/admin/oidc", params=asked)
    assert sent.status_code == 303
    return httpx.get(sent.headers["location"]).headers["location"]


def come_back(site: Site, url: str) -> httpx.Response:
    return site.client.get(url)


def test_the_sign_in_page_offers_it(site: Site) -> None:
    assert "Sign in with 127.0.0.1" in site.client.get("/admin/sign-in").text


def test_whom_the_service_vouches_for_is_let_in(site: Site, service: Service) -> None:
    back = come_back(site, away(site, next="/admin/issues"))
    assert (back.status_code, back.headers["location"]) == (303, "/admin/issues")
    assert site.client.get("/admin").status_code == 200
    # Ours is not in any address: "s:ecret" as RFC 6749 has it.
    assert service.authorization == ["Basic bmV3c3Jvb206cyUzQWVjcmV0"]


def test_it_leads_to_no_other_site(site: Site) -> None:
    assert come_back(site, away(site, next="//evil.example")).headers["location"] == "/admin"


LACKING: Final[tuple[dict[str, object], ...]] = (
    {"email_verified": False},
    {"email_verified": None},
    {"email_verified": "true"},
    {"email": None},
    {"email": ["camille@courrier.example"]},
    {"nonce": "another"},
    {"nonce": None},
    {"aud": "another program"},
    {"aud": ["newsroom", "another"], "azp": "another"},
    {"iss": "https://evil.example"},
    {"exp": 1},
    {"exp": None},
    {"iat": 2**40},
    {"sub": None},
)


def test_what_the_identity_lacks_is_not_believed(site: Site, service: Service) -> None:
    for claims in LACKING:
        service.claims = {**CAMILLE, **claims}
        assert come_back(site, away(site)).status_code == 403, claims
    assert site.client.get("/admin").status_code == 303


def test_another_key_a_shared_secret_or_none_signs_nothing(site: Site, service: Service) -> None:
    for algorithm, key in (
        ("RS256", rsa.generate_private_key(65537, 2048)),
        ("HS256", "s:ecret" * 8),
        ("none", ""),
    ):
        service.algorithm, service.signs_with = algorithm, key
        assert come_back(site, away(site)).status_code == 403, algorithm


def test_who_did_not_leave_from_this_browser_does_not_come_back(site: Site) -> None:
    url = away(site)
    site.client.cookies.clear()
    assert come_back(site, url).status_code == 403
    first, _ = away(site), away(site)
    assert come_back(site, first).status_code == 403
    assert site.client.get("/admin").status_code == 303


def test_a_way_back_is_gone_once(site: Site) -> None:
    url = away(site)
    assert come_back(site, url).status_code == 303
    assert come_back(site, url).status_code == 403


def test_newcomers_are_let_in_by_their_domain_only(site: Site, service: Service) -> None:
    service.claims.update(email="paul@courrier.example", name="Paul  Roche")
    assert come_back(site, away(site)).status_code == 303
    with transaction() as session:
        paul = accounts.find(session, "paul@courrier.example")
        assert (paul.role, paul.name, paul.password_hash) == (Role.WRITER, "Paul Roche", None)
    for stranger in ("x@other.example", "x@courrier.example.evil.example", "x@gmail.com"):
        service.claims.update(email=stranger)
        assert come_back(site, away(site)).status_code == 403


def test_who_was_locked_out_stays_out(site: Site) -> None:
    with transaction() as session:
        account = accounts.find(session, CAMILLE["email"])
        account.disabled_at = account.created_at
    assert come_back(site, away(site)).status_code == 403


def test_a_service_by_another_name_or_at_a_private_address_is_not_asked(
    site: Site, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.calls_itself = "https://evil.example"
    assert site.client.get("/admin/oidc").status_code == 403
    service.calls_itself = None
    monkeypatch.delenv("MAILER_WEBHOOK_PRIVATE_NETWORKS")
    settings.load.cache_clear()
    before = len(service.asked)
    assert site.client.get("/admin/oidc").status_code == 403
    assert len(service.asked) == before


def test_without_the_settings_there_is_no_such_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILER_OIDC_ISSUER")
    settings.load.cache_clear()
    assert site.client.get("/admin/oidc").status_code == site.client.get("/admin/oidc/return").status_code == 404
    assert "Sign in with" not in site.client.get("/admin/sign-in").text
