"""HTTPS is always verified; a private authority and a client certificate are per source."""

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scripted_exporter import Reply, in_turn, serving

from billing_etl.errors import RetryableError, TerminalError
from billing_etl.exporter import ExporterClient
from billing_etl.exporter.client import _tls_context
from billing_etl.settings import Source

EMPTY = in_turn(Reply(b'{"node_id":"","env":"","snapshots":[],"has_more":false}\n'))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate of 127.0.0.1 with its key in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "exporter")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def fetch(source: Source) -> None:
    with ExporterClient(source, sleep=lambda _: None) as reader:
        list(reader.snapshots(0, 1))


def test_an_unknown_authority_is_refused_at_once(tls: ssl.SSLContext) -> None:
    with serving(EMPTY, tls) as exporter, pytest.raises(TerminalError, match="ca_file"):
        fetch(Source("jp-1", exporter.base_url, token="t"))

    assert exporter.asked == []


def test_a_private_authority_is_trusted_for_its_source(
    tls: ssl.SSLContext, certificate: Path
) -> None:
    with serving(EMPTY, tls) as exporter:
        fetch(Source("jp-1", exporter.base_url, token="t", ca_file=str(certificate)))

    assert len(exporter.asked) == 1


def test_an_address_in_upper_case_is_as_trusted(tls: ssl.SSLContext, certificate: Path) -> None:
    with serving(EMPTY, tls) as exporter:
        address = exporter.base_url.replace("https", "HTTPS")
        fetch(Source("jp-1", address, token="t", ca_file=str(certificate)))

    assert len(exporter.asked) == 1


def test_the_usual_authorities_are_trusted_whatever_the_case_of_the_address() -> None:
    lower, upper = (
        _tls_context(Source("jp-1", f"{scheme}://exporter.example.com", token="t"))
        for scheme in ("https", "HTTPS")
    )

    assert lower.get_ca_certs()
    assert upper.get_ca_certs() == lower.get_ca_certs()


def test_a_client_certificate_stands_for_a_token(tls: ssl.SSLContext, certificate: Path) -> None:
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(certificate)
    ca_file = str(certificate)
    with serving(EMPTY, tls) as exporter:
        fetch(Source("jp-1", exporter.base_url, ca_file=ca_file, client_cert=ca_file))
        with pytest.raises(RetryableError):
            fetch(Source("jp-1", exporter.base_url, token="t", ca_file=ca_file))

    assert [asked.headers["Authorization"] for asked in exporter.asked] == [None]
