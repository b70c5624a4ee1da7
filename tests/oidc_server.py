"""A small OpenID Connect service over HTTP on localhost: it vouches for whom a test says, and checks what it is asked."""

import base64
import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa


@dataclass
class Service:
    """What the service says. `claims` are those of the identity; `signs_with` another key than the published one."""

    issuer: str = ""
    claims: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "RS256"
    signs_with: Any = None
    calls_itself: str | None = None
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    authorization: list[str] = field(default_factory=list)

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser is sent back to, with a code that is good once."""
        code = f"code-{len(self.codes)}"
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def identity(self, form: dict[str, str]) -> dict[str, str] | None:
        """The answer to a code; None if it, or what proves whose it is, is wrong."""
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != challenge or asked["code_challenge_method"] != "S256":
            return None
        now = int(time.time())
        usual = {"iss": self.issuer, "aud": asked["client_id"], "sub": "1", "iat": now, "exp": now + 60}
        claims = {**usual, "nonce": asked["nonce"], **self.claims}
        present = {name: value for name, value in claims.items() if value is not None}
        key = self.key if self.signs_with is None else self.signs_with
        return {"id_token": jwt.encode(present, key, algorithm=self.algorithm, headers={"kid": "1"})}

    def document(self, path: str) -> dict[str, Any] | None:
        """What stands at an address."""
        if path == "/.well-known/openid-configuration":
            named = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
            return {
                "issuer": self.calls_itself or self.issuer,
                **{name: f"{self.issuer}/{one}" for name, one in named.items()},
            }
        if path == "/keys":
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
            return {"keys": [{**public, "kid": "1", "use": "sig", "alg": "RS256"}]}
        return None


class running:  # noqa: N801 - it is used like a function
    """The service, in a thread: `with running() as service`."""

    def __enter__(self) -> Service:
        service = Service()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                service.asked.append(parts.path)
                found = service.document(parts.path)
                if parts.path == "/authorize":
                    self._answer(302, None, service.authorize({k: v[0] for k, v in parse_qs(parts.query).items()}))
                else:
                    self._answer(200 if found else 404, found)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                service.authorization.append(self.headers.get("authorization", ""))
                found = service.identity({k: v[0] for k, v in parse_qs(body).items()})
                self._answer(200 if found else 400, found or {"error": "invalid_grant"})

            def _answer(self, status: int, value: object, location: str = "") -> None:
                content = json.dumps(value).encode()
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        service.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return service

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
