import socket
import ssl
import threading

import pytest
from cryptography import x509

from mailer.embedded import certificates
from mailer.embedded.certificates import Certificates


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Certificates:
    return certificates.create(tmp_path_factory.mktemp("certificates"))


def shake_hands(files: Certificates, context: ssl.SSLContext, name: str) -> str:
    """Connect to a server that shows our certificate, under a name; return the TLS version."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(files.cert_file, files.key_file)
    here, there = socket.socketpair()

    def answer() -> None:
        try:
            server_context.wrap_socket(there, server_side=True).close()
        except (ssl.SSLError, ConnectionError):
            there.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with here, context.wrap_socket(here, server_hostname=name) as connection:
            return connection.version() or ""
    finally:
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_strict_client_that_trusts_the_authority_connects(files, name):
    context = ssl.create_default_context(cafile=str(files.ca_file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert shake_hands(files, context, name) == "TLSv1.3"


def test_another_name_is_refused(files):
    context = ssl.create_default_context(cafile=str(files.ca_file))
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(files, context, "lettre.example")


def test_a_client_that_does_not_know_the_authority_refuses(files):
    with pytest.raises(ssl.SSLCertVerificationError, match=r"unable to get local issuer|self.signed"):
        shake_hands(files, ssl.create_default_context(), "localhost")


def test_the_bundle_adds_to_what_is_trusted_anyway(files):
    context = ssl.create_default_context(cafile=str(files.bundle_file))
    assert len(context.get_ca_certs()) > 50
    assert shake_hands(files, context, "localhost")


def test_it_is_good_for_thirty_days(files):
    certificate = x509.load_pem_x509_certificate(files.cert_file.read_bytes())
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 30


def test_only_the_owner_can_read_the_key(files):
    assert files.key_file.stat().st_mode & 0o777 == 0o600


def test_creating_again_replaces_the_files(tmp_path):
    first = certificates.create(tmp_path).cert_file.read_bytes()
    assert certificates.create(tmp_path).cert_file.read_bytes() != first
