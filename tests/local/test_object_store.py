"""The embedded S3 server keeps what delivery relies on."""

import base64
import hashlib
import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from billing_etl.errors import TerminalError
from billing_etl.local.object_store import REGION, EmbeddedObjectStore

SOON_SECONDS = 30
PROJECT = Path(__file__).resolve().parents[2]
BODY = b"x" * 20_000
OWNER = """
import sys, time
from pathlib import Path
from billing_etl.local.object_store import EmbeddedObjectStore
store = EmbeddedObjectStore(Path(sys.argv[1])).start()
store.create_bucket("kept")
store.client().put_object(Bucket="kept", Key="key", Body=b"x" * 20000)
print("stored", flush=True)
time.sleep(600)
"""


def listeners(data_dir: Path) -> list[psutil.Process]:
    """The server of a data directory and its guardian; both work in that directory."""
    found = []
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] == str(data_dir):
            found.append(process)
    return found


def read(store: EmbeddedObjectStore, bucket: str, key: str) -> bytes:
    return store.client().get_object(Bucket=bucket, Key=key)["Body"].read()


def error_code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def test_objects_outlive_a_restart_also_on_other_ports(tmp_path: Path) -> None:
    store = EmbeddedObjectStore(tmp_path / "store")
    with store:
        store.create_bucket("kept")
        store.client().put_object(Bucket="kept", Key="key", Body=BODY)
        keys = (store.access_key, store.secret_key)
    (tmp_path / "store" / "ports.json").unlink()
    with store:
        assert read(store, "kept", "key") == BODY
        assert (store.access_key, store.secret_key) == keys


def test_nothing_outlives_a_killed_owner_and_objects_are_there(tmp_path: Path) -> None:
    data_dir = tmp_path / "store"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, data_dir], stdout=subprocess.PIPE, cwd=PROJECT
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"stored\n"
    assert listeners(data_dir) != []
    owner.kill()
    owner.wait()
    deadline = time.monotonic() + SOON_SECONDS
    while listeners(data_dir):
        assert time.monotonic() < deadline, "something lives on"
        time.sleep(0.02)
    with EmbeddedObjectStore(data_dir) as store:
        assert read(store, "kept", "key") == BODY


def test_it_listens_on_loopback_only(object_store: EmbeddedObjectStore) -> None:
    addresses = {
        connection.laddr.ip
        for process in listeners(object_store.data_dir)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_a_stopped_server_leaves_no_socket_behind(tmp_path: Path) -> None:
    with EmbeddedObjectStore(tmp_path / "store") as store:
        own = {
            Path(str(connection.laddr))
            for process in listeners(store.data_dir)
            for connection in process.net_connections("unix")
            if str(connection.laddr).startswith("/tmp/seaweedfs-")
        }
    assert own != set()
    assert [path for path in own if path.exists()] == []


def test_only_the_owner_reads_the_keys(object_store: EmbeddedObjectStore) -> None:
    file = object_store.data_dir / "s3.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert object_store.secret_key in file.read_text()
    assert file.stat().st_uid == os.geteuid()


def test_of_many_conditional_puts_one_wins(object_store: EmbeddedObjectStore, bucket: str) -> None:
    client = object_store.client()

    def put(number: int) -> str:
        try:
            client.put_object(Bucket=bucket, Key="key", Body=str(number).encode(), IfNoneMatch="*")
        except ClientError as error:
            return error.response["Error"]["Code"]
        return "stored"

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(put, range(8)))
    assert sorted(answers) == ["PreconditionFailed"] * 7 + ["stored"]
    assert read(object_store, bucket, "key") == str(answers.index("stored")).encode()


def test_a_body_with_another_sha256_is_refused(
    object_store: EmbeddedObjectStore, bucket: str
) -> None:
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    with pytest.raises(ClientError) as error:
        object_store.client().put_object(Bucket=bucket, Key="key", Body=BODY, ChecksumSHA256=wrong)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert "Contents" not in object_store.client().list_objects_v2(Bucket=bucket)


def test_a_body_with_another_md5_is_refused(object_store: EmbeddedObjectStore, bucket: str) -> None:
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    with pytest.raises(ClientError) as error:
        object_store.client().put_object(Bucket=bucket, Key="key", Body=BODY, ContentMD5=wrong)
    assert error_code(error) == "BadDigest"


@pytest.mark.parametrize("wrong", ["access", "secret"])
def test_wrong_keys_are_refused(object_store: EmbeddedObjectStore, bucket: str, wrong: str) -> None:
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=object_store.endpoint_url,
        aws_access_key_id="wrong" if wrong == "access" else object_store.access_key,
        aws_secret_access_key="wrong" if wrong == "secret" else object_store.secret_key,
        region_name=REGION,
        config=Config(s3={"addressing_style": "path"}),
    )
    with pytest.raises(ClientError) as error:
        client.put_object(Bucket=bucket, Key="key", Body=BODY)
    assert error_code(error) == (
        "InvalidAccessKeyId" if wrong == "access" else "SignatureDoesNotMatch"
    )


def test_creating_a_bucket_twice_is_harmless(
    object_store: EmbeddedObjectStore, bucket: str
) -> None:
    object_store.client().put_object(Bucket=bucket, Key="key", Body=BODY)
    object_store.create_bucket(bucket)
    assert read(object_store, bucket, "key") == BODY


def test_a_bad_bucket_name_is_named(object_store: EmbeddedObjectStore) -> None:
    with pytest.raises(TerminalError, match="Not_A_Bucket"):
        object_store.create_bucket("Not_A_Bucket")


def test_a_bucket_is_not_made_by_writing_into_it(object_store: EmbeddedObjectStore) -> None:
    with pytest.raises(ClientError) as error:
        object_store.client().put_object(Bucket="never-made", Key="key", Body=BODY)
    assert error_code(error) == "NoSuchBucket"


def test_the_address_stays_the_same(tmp_path: Path) -> None:
    store = EmbeddedObjectStore(tmp_path / "store")
    with store:
        endpoint_url = store.endpoint_url
    with store:
        assert store.endpoint_url == endpoint_url
