"""What an image reference says of the code inside, and that nothing is guessed."""

import pytest

from billing_etl.http.image import ImageIdentity, identity_of

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "@sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("reference", "tag", "commit", "version"),
    [
        (f"registry.example.com/billing:sha-{COMMIT}", f"sha-{COMMIT}", COMMIT, COMMIT),
        (f"registry.example.com/billing:{COMMIT}", COMMIT, COMMIT, COMMIT),
        ("ghcr.io/team/billing:sha-0a1b2c3", "sha-0a1b2c3", "0a1b2c3", "0a1b2c3"),
        ("billing:v1.4.2", "v1.4.2", "", "v1.4.2"),
        ("billing:1.4.2-rc.1", "1.4.2-rc.1", "", "1.4.2-rc.1"),
        (f"billing:v1.4.2-{COMMIT}", f"v1.4.2-{COMMIT}", COMMIT, f"v1.4.2-{COMMIT}"),
        (f"b:1.4.2-rc.1-g{COMMIT}", f"1.4.2-rc.1-g{COMMIT}", COMMIT, f"1.4.2-rc.1-g{COMMIT}"),
        ("billing-etl:local", "local", "", ""),
        ("billing:latest", "latest", "", ""),
        ("billing:sha-xyz", "sha-xyz", "", ""),
        ("billing:sha-0a1b2c", "sha-0a1b2c", "", ""),
        ("localhost:5000/team/billing:2.0.0", "2.0.0", "", "2.0.0"),
        (f"localhost:5000/billing:2.0.0{DIGEST}", "2.0.0", "", "2.0.0"),
        (f"localhost:5000/billing{DIGEST}", "", "", ""),
        ("localhost:5000/billing", "", "", ""),
        ("billing", "", "", ""),
        ("  billing:v1.0.0 ", "v1.0.0", "", "v1.0.0"),
    ],
)  # fmt: skip
def test_a_reference_is_taken_apart(reference: str, tag: str, commit: str, version: str) -> None:
    assert identity_of(reference) == ImageIdentity(reference.strip(), tag, commit, version)


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        " ",
        ":",
        "billing:",
        ":v1.0.0",
        "billing:v1 0",
        "billing:v1.0.0:v2",
        "billing:-v1",
        f"billing:{'v' * 129}",
        "Team/Billing:v1.0.0/",
        "http://registry.example.com/billing:v1",
        "registry.example.com:port/billing:v1",
        "billing@sha256:0123",
        "billing:v1.0.0\nX: y",
        "<script>:v1",
    ],
)
def test_a_malformed_reference_says_nothing(malformed: str) -> None:
    assert identity_of(malformed) == ImageIdentity("", "", "", "")
