"""The API asked in this process: tokens as the desk makes them, requests as programs send them."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import httpx
from fastapi import FastAPI

from mailer import clock, settings
from mailer.db import transaction
from mailer.models.tokens import Scope
from mailer.newsroom import newsletters, tokens
from mailer.web.app import create_app

BASE = "/api/v1"


def make_token(*scopes: Scope, newsletter: str | None = None, name: str = "a program") -> str:
    """A token for these scopes (all of them, if none is given), of one newsletter or of all."""
    with transaction() as session:
        found = newsletters.get(session, newsletter) if newsletter else None
        wanted = tokens.Wanted(name=name, scopes=scopes or tuple(Scope), newsletter=found)
        return tokens.create(session, wanted, by="tests", now=clock.now())[1]


class Program:
    """Another program with a token; `app` is made once."""

    def __init__(self, token: str, app: FastAPI | None = None) -> None:
        self.token = token
        self.app = app or create_app()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """Send one request; `path` is what follows /api/v1, `body` becomes JSON unless it is bytes."""
        (answer,) = self.ask_at_once([(method, path, body, headers)])
        return answer

    def ask_at_once(self, requests: Iterable[tuple[str, str, object, dict[str, str]]]) -> list[httpx.Response]:
        """Send several requests at the same time."""

        async def everything() -> list[httpx.Response]:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url=settings.load().public_url) as client:
                return await asyncio.gather(*(client.request(**self._request(*one)) for one in requests))

        return asyncio.run(everything())

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        return self.ask("POST", path, body, **headers)

    def _request(self, method: str, path: str, body: object, headers: dict[str, str]) -> dict[str, Any]:
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"} if body is not None else {}
        sent = {"Authorization": f"Bearer {self.token}", **kind, **{k.replace("_", "-"): v for k, v in headers.items()}}
        return {"method": method, "url": f"{BASE}{path}", "content": content, "headers": sent}


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is this problem, and return it."""
    assert answer.status_code == status, (answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["code"] == code, told
    assert told["status"] == status
    assert told["detail"]
    return told
