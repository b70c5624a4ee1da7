"""A throw-away certificate authority for https on localhost: for a try and for tests, never for a server others reach."""

import datetime
import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import certifi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME: Final = datetime.timedelta(days=30)
_CLOCK_SKEW: Final = datetime.timedelta(hours=1)
_SIGN_ONLY: Final = {
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "encipher_only": False,
    "decipher_only": False,
}


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """The files of one throw-away authority and of its certificate for localhost, all PEM."""

    ca_file: Path
    cert_file: Path
    key_file: Path
    bundle_file: Path  # the authorities this machine trusts anyway, and ours: for SSL_CERT_FILE of child processes


def create(directory: Path) -> Certificates:
    """Make an authority and a certificate for localhost, 127.0.0.1 and ::1, good for 30 days; overwrite older ones.

    The authority's own key is thrown away at once: nothing else can ever be signed with it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = Certificates(
        ca_file=directory / "ca.pem",
        cert_file=directory / "localhost.pem",
        key_file=directory / "localhost.key",
        bundle_file=directory / "bundle.pem",
    )
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _authority(ca_key)
    ca_pem = authority.public_bytes(serialization.Encoding.PEM)
    files.ca_file.write_bytes(ca_pem)
    files.cert_file.write_bytes(_localhost(key, authority, ca_key).public_bytes(serialization.Encoding.PEM))
    _write_private(files.key_file, key)
    files.bundle_file.write_bytes(_trusted_anyway().read_bytes().rstrip() + b"\n" + ca_pem)
    return files


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("Throw-away authority for localhost")
    usage = x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **_SIGN_ONLY)
    return (
        _builder(name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )


def _localhost(
    key: ec.EllipticCurvePrivateKey, authority: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    usage = x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **_SIGN_ONLY)
    return (
        _builder(_name("localhost"), authority.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _write_private(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.unlink(missing_ok=True)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)


def _trusted_anyway() -> Path:
    """Find what OpenSSL trusts here (SSL_CERT_FILE wins), else the authorities that certifi ships."""
    return Path(ssl.get_default_verify_paths().cafile or certifi.where())
