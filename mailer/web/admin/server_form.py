"""The form of a mail server, as Settings and the first run show it: typed, filled in by a preset or an address, checked."""

import json
from collections.abc import Mapping
from typing import Any, Final

from mailer import settings, vault
from mailer.delivery import servers
from mailer.delivery.transports import checking
from mailer.models.installation import MailServer
from mailer.web.admin.session import Desk

FIELDS: Final = (
    "host",
    "port",
    "security",
    "username",
    "password",
    "position",
    "connections",
    "per_second",
    "per_hour",
    "per_day",
)
EMPTY: Final = dict.fromkeys(FIELDS, "") | {
    "port": "587",
    "security": "smtp+starttls",
    "position": "1",
    "connections": "10",
}
# What an attempt to log in came to, and what to do; the server's own words stand below.
MEANINGS: Final = {
    "ok": "The server lets us in.",
    "server_unreachable": "The server can’t be reached. Check name and port; some hosts block port 25, so try 587 or 465.",
    "login_refused": "The server refuses the user name or the password. Some providers want a password made for programs.",
    "tls_refused": "The connection can’t be encrypted safely. Try the other kind of encryption, or the port that goes with it.",
    "blocked": "The server does not want to talk to us. Its words say why.",
}
_TYPED: Final = b"typed-server"
_UNREADABLE: Final = "The kept password can’t be read any more: MAILER_SECRET_KEY was changed. Enter it again"


def typed(desk: Desk) -> dict[str, str]:
    """Return what was typed; an address such as smtps://user:password@host that was pasted wins, as does a chosen preset."""
    given = {name: desk.typed(name) for name in FIELDS if name != "password"} | {
        "password": desk.form.get("password", "")
    }
    for name in ("position", "connections"):
        given[name] = given[name] or EMPTY[name]
    given["password"] = given["password"] or _typed_before(desk.typed("sealed"), given)
    pasted = servers.read_url(desk.typed("smtp_url"))
    if pasted:
        return given | pasted
    preset = servers.PRESETS.get(desk.typed("preset"))
    if preset is not None and desk.typed("act") == "fill":
        host, port, security = preset
        return given | {"host": host, "port": str(port), "security": security.value}
    return given


def complaints(desk: Desk) -> dict[str, str]:
    """Return what is wrong with a pasted address, before anything else is looked at."""
    if desk.typed("smtp_url") and not servers.read_url(desk.typed("smtp_url")):
        return {"smtp_url": "Paste an address such as smtps://user:password@smtp.example:465"}
    return {}


def stored(server: MailServer) -> dict[str, str]:
    """Return what the fields hold for a kept server; never its password."""
    values = {name: getattr(server, name) for name in FIELDS if name != "password"}
    return EMPTY | {name: "" if value is None else _plain(value) for name, value in values.items()}


def check(entered: servers.Entered, kept: MailServer | None) -> checking.Checked:
    """Try what was entered. Talks to the server. Raises ServerInvalid if the kept password can't be read."""
    chosen = settings.load()
    try:
        transport = servers.as_transport(entered, kept)
    except vault.SecretUnreadable as error:
        raise servers.ServerInvalid({"password": _UNREADABLE}) from error
    return checking.check(transport, helo_name=chosen.helo_name or chosen.public_host)


def shown(
    values: Mapping[str, str], *, errors: Mapping[str, str] | None = None, checked: checking.Checked | None = None
) -> dict[str, Any]:
    """Return what the template of the form needs. A password is never put into a page."""
    return {
        "server": {**values, "password": ""},
        "sealed": _sealed(values) if values["password"] else "",
        "presets": list(servers.PRESETS),
        "checked": checked,
        "meanings": MEANINGS,
        "errors": dict(errors or {}),
    }


def _sealed(values: Mapping[str, str]) -> str:
    """Seal a password that was typed, so that it need not be typed again after a check: for that server and user only."""
    return vault.seal(_TYPED, json.dumps([values["host"], values["username"], values["password"]])).decode("ascii")


def _typed_before(sealed: str, given: Mapping[str, str]) -> str:
    try:
        host, username, password = json.loads(vault.unseal(_TYPED, sealed.encode()))
    except (vault.SecretUnreadable, ValueError):
        return ""
    return str(password) if (host, username) == (given["host"], given["username"]) else ""


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
