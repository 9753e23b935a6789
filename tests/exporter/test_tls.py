"""HTTPS is always verified; a private authority and a client certificate are per source."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from scripted_exporter import Reply, ScriptedExporter, in_turn, serving

from billing_etl.errors import RetryableError, TerminalError, UsageError
from billing_etl.exporter import ExporterClient
from billing_etl.exporter.client import _tls_context
from billing_etl.settings import Source

PAGE = Reply(b'{"node_id":"","env":"","snapshots":[],"has_more":false}\n')
HOST = "127.0.0.1"
TOKEN = "t0ken-of-the-exporter"


@dataclass(frozen=True)
class Authorities:
    """A private authority with its file, and another one that nobody trusts here."""

    private: trustme.CA
    ca_file: str
    other: trustme.CA
    directory: Path

    def client_file(self, authority: trustme.CA, name: str) -> str:
        """A client certificate and its key in one PEM file."""
        path = self.directory / f"{name}.pem"
        authority.issue_cert(f"{name}.example.com").private_key_and_cert_chain_pem.write_to_path(
            path
        )
        return str(path)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    directory = tmp_path_factory.mktemp("tls")
    private = trustme.CA()
    private.cert_pem.write_to_path(directory / "ca.pem")
    return Authorities(private, str(directory / "ca.pem"), trustme.CA(), directory)


def server(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@contextmanager
def exporter_with(
    certificate: trustme.LeafCert, clients_of: trustme.CA | None = None
) -> Iterator[ScriptedExporter]:
    """An exporter with this certificate; with an authority, it asks clients for one of that."""
    context = server(certificate)
    if clients_of is not None:
        clients_of.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    with serving(in_turn(PAGE), context) as exporter:
        yield exporter


def fetch(source: Source) -> None:
    with ExporterClient(source, sleep=lambda _: None) as reader:
        list(reader.snapshots(0, 1))


def test_an_unknown_authority_is_refused_at_once(authorities: Authorities) -> None:
    with (
        exporter_with(authorities.private.issue_cert(HOST)) as exporter,
        pytest.raises(TerminalError, match="give its authority as ca_file"),
    ):
        fetch(Source("jp-1", exporter.base_url, token=TOKEN))
    assert exporter.asked == []


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_a_private_authority_is_trusted_for_its_source(
    authorities: Authorities, scheme: str
) -> None:
    with exporter_with(authorities.private.issue_cert(HOST)) as exporter:
        address = exporter.base_url.replace("https", scheme)
        fetch(Source("jp-1", address, token=TOKEN, ca_file=authorities.ca_file))
        # And for no other one.
        with pytest.raises(TerminalError):
            fetch(Source("jp-2", address, token=TOKEN))
    assert [asked.headers["Authorization"] for asked in exporter.asked] == [f"Bearer {TOKEN}"]


def test_the_usual_authorities_are_trusted_whatever_the_case_of_the_address() -> None:
    lower, upper = (
        _tls_context(Source("jp-1", f"{scheme}://exporter.example.com", token="t"))
        for scheme in ("https", "HTTPS")
    )

    assert lower.get_ca_certs()
    assert upper.get_ca_certs() == lower.get_ca_certs()


NOW = datetime.now(UTC)
WRONG: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "another host": (("exporter.example.com",), {}, "it is of another address"),
    "another address": (("127.0.0.2",), {}, "it is of another address"),
    "expired": ((HOST,), {"not_after": NOW - timedelta(days=1)}, "it has expired: renew it"),
    "not valid yet": (
        (HOST,),
        {"not_before": NOW + timedelta(days=1), "not_after": NOW + timedelta(days=2)},
        "it is not valid yet: check both clocks",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_certificate_that_is_trusted_and_wrong_is_refused_at_once(
    authorities: Authorities, case: str
) -> None:
    names, dates, remedy = WRONG[case]
    certificate = authorities.private.issue_cert(*names, **dates)
    with exporter_with(certificate) as exporter, pytest.raises(TerminalError, match=remedy):
        fetch(Source("jp-1", exporter.base_url, token=TOKEN, ca_file=authorities.ca_file))
    assert exporter.asked == []


def test_a_host_name_is_compared_too(authorities: Authorities) -> None:
    certificate = authorities.private.issue_cert("exporter.example.com")
    with exporter_with(certificate) as exporter:
        address = exporter.base_url.replace(HOST, "localhost")
        with pytest.raises(TerminalError, match="it is of another host"):
            fetch(Source("jp-1", address, token=TOKEN, ca_file=authorities.ca_file))
    assert exporter.asked == []


def test_a_client_certificate_stands_for_a_token(authorities: Authorities) -> None:
    private = authorities.private
    with exporter_with(private.issue_cert(HOST), clients_of=private) as exporter:
        fetch(
            Source(
                "jp-1", exporter.base_url, ca_file=authorities.ca_file,
                client_cert=authorities.client_file(private, "good"),
            )
        )  # fmt: skip
    assert [asked.headers["Authorization"] for asked in exporter.asked] == [None]


def test_a_client_certificate_and_its_key_may_be_two_files(authorities: Authorities) -> None:
    private = authorities.private
    certificate = private.issue_cert("two.example.com")
    files = authorities.directory / "two.crt", authorities.directory / "two.key"
    certificate.cert_chain_pems[0].write_to_path(files[0])
    certificate.private_key_pem.write_to_path(files[1])
    with exporter_with(private.issue_cert(HOST), clients_of=private) as exporter:
        pair = ",".join(map(str, files))
        fetch(Source("jp-1", exporter.base_url, ca_file=authorities.ca_file, client_cert=pair))
        with pytest.raises(UsageError, match="expected readable PEM files"):
            fetch(Source("jp-1", exporter.base_url, client_cert=str(files[0])))
    assert len(exporter.asked) == 1


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(authorities: Authorities) -> None:
    certificate = authorities.private.issue_cert("locked.example.com")
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    path = authorities.directory / "locked.pem"
    path.write_bytes(locked + certificate.cert_chain_pems[0].bytes())
    with pytest.raises(UsageError, match="expected readable PEM files in ca_file and client_cert"):
        fetch(Source("jp-1", f"https://{HOST}:1", client_cert=str(path)))


@pytest.mark.parametrize("client", ["missing", "of another authority"])
def test_without_the_right_client_certificate_nothing_is_served(
    authorities: Authorities, client: str
) -> None:
    wrong = authorities.client_file(authorities.other, "wrong")
    with exporter_with(
        authorities.private.issue_cert(HOST), clients_of=authorities.private
    ) as exporter:
        source = Source(
            "jp-1", exporter.base_url, token=TOKEN, ca_file=authorities.ca_file,
            client_cert=None if client == "missing" else wrong,
        )  # fmt: skip
        # Where the refusal comes after the handshake, the connection may be cut before it is read.
        with pytest.raises((TerminalError, RetryableError), match=r"client_cert|Error from"):
            fetch(source)
    assert exporter.asked == []


def test_a_refused_client_certificate_names_the_setting(authorities: Authorities) -> None:
    """With TLS 1.2 the refusal is part of the handshake: it is always seen, and not tried again."""
    context = server(authorities.private.issue_cert(HOST))
    authorities.private.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        serving(in_turn(PAGE), context) as exporter,
        pytest.raises(TerminalError, match=r"got .*ALERT.*; check client_cert"),
    ):
        fetch(Source("jp-1", exporter.base_url, token=TOKEN, ca_file=authorities.ca_file))
    assert exporter.asked == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_an_old_tls_is_refused(authorities: Authorities) -> None:
    context = server(authorities.private.issue_cert(HOST))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        serving(in_turn(PAGE), context) as exporter,
        pytest.raises(TerminalError, match=r"expected TLS 1\.2 or later"),
    ):
        fetch(Source("jp-1", exporter.base_url, token=TOKEN, ca_file=authorities.ca_file))
    assert exporter.asked == []


@pytest.mark.parametrize("own_files", [False, True])
def test_no_source_speaks_less_than_tls_1_2(authorities: Authorities, own_files: bool) -> None:
    ca_file = authorities.ca_file if own_files else None
    context = _tls_context(Source("jp-1", "https://exporter.example.com", ca_file=ca_file))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_takes_the_token_nowhere(authorities: Authorities, status: int) -> None:
    """Neither to plain HTTP on another host nor anywhere else."""
    with serving(in_turn(PAGE)) as other:
        away = Reply(
            b"", status, "text/plain", {"Location": f"{other.base_url}/v1/snapshots/window"}
        )
        context = server(authorities.private.issue_cert(HOST))
        with (
            serving(in_turn(away), context) as exporter,
            pytest.raises(TerminalError, match="redirects are not followed"),
        ):
            fetch(Source("jp-1", exporter.base_url, token=TOKEN, ca_file=authorities.ca_file))
    assert len(exporter.asked) == 1
    assert other.asked == []


@pytest.mark.parametrize(
    "host", ["exporter.example.com", "10.0.0.1", "[2001:db8::1]", "127.0.0.1.nip.io"]
)
def test_plain_http_to_another_machine_needs_the_switch(host: str) -> None:
    address = f"http://{host}:8080"
    with pytest.raises(UsageError, match="set allow_http for this source"):
        Source("jp-1", address, token=TOKEN)
    assert Source("jp-1", address, token=TOKEN, allow_http=True).base_url == address


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "[::1]", "localhost"])
def test_plain_http_on_this_machine_needs_none(host: str) -> None:
    Source("jp-1", f"http://{host}:8080", token=TOKEN)


def test_plain_http_at_an_https_port_serves_nothing(authorities: Authorities) -> None:
    with exporter_with(authorities.private.issue_cert(HOST)) as exporter:
        address = exporter.base_url.replace("https", "http")
        with pytest.raises((TerminalError, RetryableError)):
            fetch(Source("jp-1", address, token=TOKEN))
    assert exporter.asked == []
