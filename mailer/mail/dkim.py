"""DKIM signatures (RFC 6376, 8301, 8463): keys from files, the relaxed form of mail, and the header made of both.

What the copies of one variant share is prepared once, in a `Seal`; a copy then costs one hash and a signature a key.
`message` decides what is signed. No network, no DNS, no database.
"""

import base64
import functools
import hashlib
import os
import re
import stat
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mailer.mail_settings import DkimKey

# Listed once more than the mail has them, so that nobody can add a second one above ours for a client to show (RFC 6376
# 8.15).
ONCE_MORE: Final = ("from", "reply-to", "to", "cc", "subject", "date")
# RFC 8301 3.2: below, nobody may accept it; above, not everybody can.
RSA_BITS: Final = range(1024, 4096 + 1)
_LINE_LIMIT: Final = 78
_SIGNATURE_CHUNK: Final = 72
_PEM_LIMIT_BYTES: Final = 64 * 1024
_SPACES = re.compile(r"[ \t]+")
_SPACE_BYTES = re.compile(rb"[ \t]+")
_PADDING = padding.PKCS1v15()
_HASHED = utils.Prehashed(hashes.SHA256())


class KeyInvalid(Exception):
    """A key can't sign; the message is one sentence or two that name it and say what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signer:
    """A private key and the DNS name, <selector>._domainkey.<domain>, under which its public half is published."""

    domain: str
    selector: str
    private_key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey = field(repr=False)

    @property
    def algorithm(self) -> str:
        """The value of the signature's a= tag."""
        return "rsa-sha256" if isinstance(self.private_key, rsa.RSAPrivateKey) else "ed25519-sha256"

    def sign(self, digest: bytes) -> bytes:
        """Sign a SHA-256 digest; Ed25519 takes it as its message (RFC 8463 3)."""
        if isinstance(self.private_key, rsa.RSAPrivateKey):
            return self.private_key.sign(digest, _PADDING, _HASHED)
        return self.private_key.sign(digest)


class Seal:
    """The signatures of one variant, prepared as far as its copies are alike."""

    def __init__(self, signers: Sequence[Signer], *, names: Sequence[str], body_start: bytes) -> None:
        """`names` are the headers that will be signed, in the mail's order; `body_start` is what every body begins with."""
        self._body = hashlib.sha256(body_start)
        self._begun = [(signer, *_begin(signer, names)) for signer in signers]

    def headers(self, *, head: bytes, body_rest: bytes, second: int) -> bytes:
        """Return the DKIM-Signature headers to put on top of one copy, one a signer, each with its CRLF.

        `head` and `body_rest` are in the relaxed form: the headers named before, and the body behind its start. `second`
        is the Unix time.
        """
        body = self._body.copy()
        body.update(body_rest)
        tags = b"%d; bh=%b" % (second, base64.b64encode(body.digest()))
        fields = hashlib.sha256(head)
        written: list[bytes] = []
        for signer, wire, relaxed in self._begun:
            own = fields.copy()
            own.update(b"%b%b; b=" % (relaxed, tags))
            signature = base64.b64encode(signer.sign(own.digest()))
            written += wire, tags, b";\r\n b=", _chunks(signature), b"\r\n"
        return b"".join(written)


def load(key: DkimKey) -> Signer:
    """Read a key from its file. Raises KeyInvalid."""
    name = f"The DKIM key {key.selector}._domainkey.{key.domain}"
    path = key.key_file
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            pem = file.read(_PEM_LIMIT_BYTES)
    except OSError as error:
        raise KeyInvalid(f"{name} cannot be read: {path}: {error.strerror}.") from error
    # A group may read: so a service reads a key that root owns. Others could sign in the newsroom's name.
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise KeyInvalid(f"{name} is open to other accounts. Run: chmod 640 {path}")
    try:
        private = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise KeyInvalid(
            f"{name} is encrypted, and no password is asked for. Write it out: openssl pkey -in {path} -out <new file>"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyInvalid(f"{name} is not a private key in PEM form: {path}.") from error
    if isinstance(private, rsa.RSAPrivateKey):
        if private.key_size not in RSA_BITS:
            raise KeyInvalid(
                f"{name} has {private.key_size} bits. Make one of 2048: openssl genrsa -out <new file> 2048"
            )
    elif not isinstance(private, ed25519.Ed25519PrivateKey):
        raise KeyInvalid(f"{name} is neither RSA nor Ed25519, and DKIM knows no other kind: {path}.")
    return Signer(domain=key.domain, selector=key.selector, private_key=private)


def signers_for(keys: Sequence[DkimKey], sender_domain: str) -> tuple[Signer, ...]:
    """Return the signers whose domain is that of the From address or a parent of it, as DMARC asks (RFC 7489 3.1.1).

    Files are read once a process and again when they change. Raises KeyInvalid.
    """
    sender = f".{sender_domain.lower()}"
    return tuple(_loaded(key, _changed_at(key)) for key in keys if sender.endswith(f".{key.domain}"))


def relaxed_headers(head: str) -> str:
    """Write header lines in the relaxed form (RFC 6376 3.4.2): unfolded, names in lower case, single spaces."""
    lines = head.replace("\r\n ", " ").replace("\r\n\t", " ").removesuffix("\r\n").split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    return "".join(f"{name.strip().lower()}:{_SPACES.sub(' ', value).strip(' ')}\r\n" for name, value in pairs)


def relaxed_body(part: bytes) -> bytes:
    """Write a part of a body in the relaxed form (RFC 6376 3.4.4): single spaces, none at the end of a line.

    The part must not begin or end within white space. Empty lines at the end of a whole body are the caller's to remove.
    """
    return relaxed_value(part).replace(b" \r\n", b"\r\n")


def relaxed_value(value: bytes) -> bytes:
    """Write a piece of a line, which white space neither precedes nor follows, in the relaxed form."""
    return _SPACE_BYTES.sub(b" ", value) if b"  " in value or b"\t" in value else value


def _begin(signer: Signer, names: Sequence[str]) -> tuple[bytes, bytes]:
    """Return a signature header up to its time, on the wire and relaxed."""
    tags = f"v=1; a={signer.algorithm}; c=relaxed/relaxed; d={signer.domain}; s={signer.selector};"
    listed = ": ".join([*(name.lower() for name in names), *ONCE_MORE])
    lines = [*_wrap(f"DKIM-Signature: {tags}"), *(line.replace(": ", ":") for line in _wrap(f" h={listed};")), " t="]
    wire = "\r\n".join(lines)
    return wire.encode("ascii"), relaxed_headers(wire).removesuffix("\r\n").encode("ascii")


def _wrap(words: str) -> list[str]:
    return textwrap.wrap(words, _LINE_LIMIT, subsequent_indent=" ", break_long_words=False, break_on_hyphens=False)


def _chunks(signature: bytes) -> bytes:
    return b"\r\n ".join(
        signature[start : start + _SIGNATURE_CHUNK] for start in range(0, len(signature), _SIGNATURE_CHUNK)
    )


def _changed_at(key: DkimKey) -> int:
    """Return when the key's file was last changed, 0 when it can't be seen; reading it will tell why."""
    try:
        return key.key_file.stat().st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=64)
def _loaded(key: DkimKey, _changed_at: int) -> Signer:
    return load(key)
