"""What must hold for every message that leaves, read off its bytes as a server took them.

The product's own checks (mailer/checks) look at one copy before it is sent; these rules look at all that reached a server,
with its envelope and signatures, and know nothing of how it was made. Sources: RFC 2045 to 2047, 2369, 2919, 3834, 5321,
5322, 6376, 8058, and what Gmail and Yahoo ask of senders.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.header import decode_header
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Final

import dkim as dkimpy
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import html as lxml_html

from mailer.issues import checks
from mailer.issues.checks.mail import Facts

Keys = Mapping[str, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey]
ONCE: Final = ("from", "to", "subject", "date", "message-id", "mime-version", "content-type")
SIGNED: Final = (*ONCE, "list-unsubscribe", "list-unsubscribe-post", "list-id", "feedback-id", "auto-submitted")
# Gmail cuts at 102 KB what a dozen articles should never come near.
LARGEST_HTML: Final = 60_000
WORD: Final = re.compile(r"=\?[^?\s]*\?[bBqQ]\?[^?]*\?=")
DOMAIN: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+"
PRIVATE: Final = (".local", ".localdomain", ".internal", ".lan", ".home", ".test")


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One message and its envelope. `is_bulk`: an issue; what the mailbox's owner asked for by a form is not."""

    content: bytes
    envelope_from: str
    recipient: str
    is_bulk: bool
    postal_address: str = "12 rue des Caravanes, 67000 Strasbourg"

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names in small letters, values folded as they are."""
        head = self.content.partition(b"\r\n\r\n")[0].decode("latin-1")
        fields = (one.partition(":") for one in re.split(r"\r\n(?![ \t])", head))
        return [(name.lower(), value) for name, _, value in fields]

    def header(self, name: str) -> str:
        """The first value of that name, unfolded."""
        found = next((value for one, value in self.headers if one == name), "")
        return re.sub(r"\r\n(?=[ \t])", "", found).strip()

    @property
    def email(self) -> EmailMessage:
        """The message, parsed."""
        return message_from_bytes(self.content, policy=policy.default)


def faults(sent: Sent, keys: Keys | None = None) -> list[str]:
    """List what is wrong with a message, each as "rule: what"; the signatures too if there are `keys`, by selector."""
    rules: tuple[Callable[[Sent], Iterator[str]], ...] = (
        octets,
        header_lines,
        encoded_words,
        identity,
        reader,
        parts,
        product,
        of_list if sent.is_bulk else of_notice,
    )
    found = [f"{rule.__name__}: {one}" for rule in rules for one in rule(sent)]
    return found + [f"signatures: {one}" for one in (signatures(sent, keys) if keys else ())]


def octets(sent: Sent) -> Iterator[str]:
    if re.search(rb"(?<!\r)\n|\r(?!\n)", sent.content):
        yield "a bare CR or LF"
    if b"\0" in sent.content:
        yield "a NUL"
    if max(map(len, sent.content.split(b"\r\n"))) > 998:
        yield "a line of more than 998 octets"
    if not sent.content.isascii():
        yield "an octet above 127, though no server was asked for 8BITMIME"


def header_lines(sent: Sent) -> Iterator[str]:
    names = [name for name, _ in sent.headers]
    for name in ONCE:
        if names.count(name) != 1:
            yield f"{name} {names.count(name)} times"
    for name in sorted(set(names) - {"dkim-signature", *ONCE}):
        if names.count(name) > 1:
            yield f"{name} {names.count(name)} times"
    for name in {"bcc", "return-path", "received"}.intersection(names):
        yield f"{name} is not for us to set"
    for name, value in sent.headers:
        for number, line in enumerate(value.split("\r\n")):
            width = len(line) + (0 if number else len(name) + 1)
            if number and not line.strip():
                yield f"{name}: an empty line"
            if (width > 76 and "=?" in line) or (width > 78 and " " in line.strip()):
                yield f"{name}: a line of {width} that could be folded"


def encoded_words(sent: Sent) -> Iterator[str]:
    for name, value in sent.headers:
        for word in WORD.findall(value):
            if len(word) > 75:
                yield f"{name}: one of {len(word)} characters"
            octets, charset = decode_header(word)[0]
            try:
                assert isinstance(octets, bytes)
                octets.decode(charset or "ascii")
            except UnicodeDecodeError:
                yield f"{name}: a character cut in two"
        if re.search(r"\?==\?|[^\s(]=\?[^?\s]+\?[bBqQ]\?", value):
            yield f"{name}: no space before one"
        if re.search(r"<[^>]*=\?[^>]*>", value) or (name.startswith("list-") and "=?" in value):
            yield f"{name}: one where none is read"


def identity(sent: Sent) -> Iterator[str]:
    email, host = sent.email, sent.header("message-id").rpartition("@")[2].rstrip(">").lower()
    senders = email["From"].addresses if email["From"] else ()
    if len(senders) != 1 or not re.fullmatch(DOMAIN, senders[0].domain):
        yield "From is not one address at a domain in ASCII"
    if not re.fullmatch(rf"<[\w.!#$%&'*+/=?^`{{|}}~-]+@{DOMAIN}>", sent.header("message-id"), re.IGNORECASE):
        yield "Message-ID is not <…@host.domain>"
    if host.endswith(PRIVATE) or host == "localhost":
        yield f"Message-ID names the private host {host}"
    try:
        moment = parsedate_to_datetime(sent.header("date"))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        yield "Date has no zone"
    if re.search(r"[\x00-\x1f\x7f]", str(email["Subject"])) or not str(email["Subject"]).strip():
        yield "Subject is empty or has control characters"
    local, _, domain = sent.envelope_from.rpartition("@")
    if len(local) > 64 or len(domain) > 255:
        yield "the envelope's sender is too long"
    if senders and not f".{domain}".endswith(f".{senders[0].domain}"):
        yield "the envelope's sender is of another domain than From"


def reader(sent: Sent) -> Iterator[str]:
    to = [one.addr_spec for one in sent.email["To"].addresses] if sent.email["To"] else []
    if to != [sent.recipient]:
        yield f"To is not the one recipient but {len(to)}"
    tokens = re.findall(r"https://[^\s\"'<>]+", _part(sent, "html") + _part(sent, "plain") + str(sent.headers))
    if any(sent.recipient.lower() in one.lower() for one in tokens):
        yield "the recipient's address is in a link"


def parts(sent: Sent) -> Iterator[str]:
    email = sent.email
    kinds = [one.get_content_type() for one in email.walk()]
    if kinds != ["multipart/alternative", "text/plain", "text/html"]:
        yield f"not text before HTML in multipart/alternative: {kinds}"
    for part in email.walk():
        if part.defects:
            yield f"{part.get_content_type()}: {part.defects[0]!r}"
        if part.is_multipart():
            continue
        if str(part["Content-Transfer-Encoding"]).lower() not in ("quoted-printable", "base64", "7bit"):
            yield f"{part.get_content_type()}: encoded as {part['Content-Transfer-Encoding']}"
        if part.get_content_charset() != "utf-8":
            yield f"{part.get_content_type()}: in {part.get_content_charset()}"
    html = _part(sent, "html").encode()
    if len(html) > LARGEST_HTML:
        yield f"HTML of more than {LARGEST_HTML // 1000} KB"
    document = lxml_html.document_fromstring(html or b"<p>")
    if not "".join(document.xpath("//body//text()[not(ancestor::*[contains(@style, 'display:none')])]")).strip():
        yield "HTML without words"
    if document.xpath("//a[starts-with(@href, 'http:')] | //img[starts-with(@src, 'http:')]"):
        yield "a link or picture without https"


def product(sent: Sent) -> Iterator[str]:
    """What the checks before sending would say; they read the bodies."""
    facts = Facts(
        address=sent.recipient,
        postal_address=sent.postal_address,
        preview_text="known elsewhere" if sent.is_bulk else None,
        is_bulk=sent.is_bulk,
    )
    for one in checks.run(sent.content, facts):
        yield f"{one.code}, {one.words}"


def of_list(sent: Sent) -> Iterator[str]:
    addresses = re.findall(r"<([^<>]*)>", sent.header("list-unsubscribe"))
    if not re.fullmatch(r"<\S+>(?:\s*,\s*<\S+>)*", sent.header("list-unsubscribe")):
        yield "List-Unsubscribe is not <…>, <…>"
    if [one.partition(":")[0] for one in addresses if not one.startswith("mailto:")] != ["https"]:
        yield "List-Unsubscribe has not one https address"
    if sent.header("list-unsubscribe-post") != "List-Unsubscribe=One-Click":
        yield "List-Unsubscribe-Post is not what RFC 8058 says"
    list_id = re.fullmatch(r"(?:.*\s)?<([^<>\s@]+)>", sent.header("list-id"))
    if list_id is None or "." not in list_id[1] or len(list_id[1]) > 255:
        yield "List-Id is not <name.domain>"
    fields = sent.header("feedback-id").split(":")
    if len(fields) > 4 or not 5 <= len(fields[-1]) <= 15:
        yield "Feedback-ID is not up to four fields, the last of 5 to 15 characters"
    if sent.header("auto-submitted"):
        yield "Auto-Submitted is for answers and notices"
    for kind in ("html", "plain"):
        if not re.search(r"https://[^\s\"]+/u/[\w.-]{20,}", _part(sent, kind)):
            yield f"no link to unsubscribe in text/{kind}"
        if not re.search(r"https://[^\s\"]+/i/\d+", _part(sent, kind)):
            yield f"no link to the web version in text/{kind}"


def of_notice(sent: Sent) -> Iterator[str]:
    if sent.header("auto-submitted") != "auto-generated":
        yield "Auto-Submitted is not auto-generated"
    if any(name.startswith("list-") or name == "precedence" for name, _ in sent.headers):
        yield "a header of lists"
    if "<img" in _part(sent, "html"):
        yield "a picture"


def signatures(sent: Sent, keys: Keys) -> Iterator[str]:
    tags = [_tags(value) for name, value in sent.headers if name == "dkim-signature"]
    names = {name for name, _ in sent.headers}
    if sorted(one.get("s", "") for one in tags) != sorted(keys):
        yield "not one by each key"
    for index, one in enumerate(tags):
        signed = one.get("h", "").lower().split(":")
        if not set(SIGNED).intersection(names) <= set(signed):
            yield f"{sorted(set(SIGNED).intersection(names) - set(signed))} not signed"
        if signed.count("from") < 2:
            yield "another From could be added"
        if "l" in one or {"return-path", "received"} & set(signed):
            yield "signs a length or a trace"
        if one.get("a") not in ("rsa-sha256", "ed25519-sha256") or one.get("c") != "relaxed/relaxed":
            yield f"made by {one.get('a')}, {one.get('c')}"
        if not f".{sent.envelope_from.rpartition('@')[2]}".endswith(f".{one.get('d')}"):
            yield f"of the domain {one.get('d')}"
        if not _verifies(sent.content, index, keys):
            yield f"that of {one.get('s')} does not verify"


def _verifies(content: bytes, index: int, keys: Keys) -> bool:
    try:
        return bool(dkimpy.DKIM(content).verify(idx=index, dnsfunc=lambda name, **_: record(keys, name)))
    except dkimpy.DKIMException:
        return False


def record(keys: Keys, name: bytes) -> bytes:
    """Answer as DNS would for a selector."""
    key = keys[name.decode().partition(".")[0]]
    if isinstance(key, rsa.RSAPrivateKey):
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


def _tags(value: str) -> dict[str, str]:
    pairs = (one.partition("=") for one in re.sub(r"\s", "", value).split(";") if "=" in one)
    return {name: words for name, _, words in pairs}


def _part(sent: Sent, kind: str) -> str:
    found = next((one for one in sent.email.walk() if one.get_content_type() == f"text/{kind}"), None)
    payload = found.get_payload(decode=True) if found else b""
    return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""
