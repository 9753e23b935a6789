"""AWS's token service as far as a web identity needs it: judges token and role, hands out keys."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

ROLE = "arn:aws:iam::123456789012:role/billing"
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass
class TokenService:
    """Knows one role. ``tokens``: those that are valid, and those that were once."""

    url: str
    keys: tuple[str, str]
    tokens: dict[str, bool]
    lifetime: timedelta = timedelta(hours=1)
    roles_asked: list[str] = field(default_factory=list)

    def answer(self, asked: dict[str, list[str]]) -> tuple[int, str]:
        (action,), (role,) = asked["Action"], asked["RoleArn"]
        assert action == "AssumeRoleWithWebIdentity"
        self.roles_asked.append(role)
        is_valid = self.tokens.get(asked["WebIdentityToken"][0])
        if is_valid is None:
            return 400, _refusal("InvalidIdentityToken", "no OIDC provider knows this token")
        if not is_valid:
            return 400, _refusal("ExpiredTokenException", "token expired")
        if role != ROLE:
            return 403, _refusal("AccessDenied", "not authorized to assume " + role)
        expires = datetime.now(UTC) + self.lifetime
        key_id, secret = self.keys
        return 200, (
            f'<AssumeRoleWithWebIdentityResponse xmlns="{_NAMESPACE}">'
            "<AssumeRoleWithWebIdentityResult>"
            f"<AssumedRoleUser><Arn>{role}/session</Arn><AssumedRoleId>A:session</AssumedRoleId>"
            "</AssumedRoleUser><Credentials>"
            f"<AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>"
            # The embedded store knows the keys themselves: they need no session token.
            f"<SessionToken></SessionToken><Expiration>{expires:%Y-%m-%dT%H:%M:%SZ}</Expiration>"
            "</Credentials></AssumeRoleWithWebIdentityResult>"
            "<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
            "</AssumeRoleWithWebIdentityResponse>"
        )


def _refusal(code: str, message: str) -> str:
    return (
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )


@contextmanager
def token_service(keys: tuple[str, str], *valid: str) -> Iterator[TokenService]:
    """Listens on loopback; the keys are what it hands out for a valid token."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, text = service.answer(parse_qs(body))
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    service = TokenService(url, keys, dict.fromkeys(valid, True))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
