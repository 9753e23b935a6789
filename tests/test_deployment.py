"""The deployment of several containers, as far as it can be checked without a container engine."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from billing_etl.local.postgres import EmbeddedPostgres
from billing_etl.settings import SETTINGS, Settings
from billing_etl.store.migrations import migrate

ROOT = Path(__file__).resolve().parents[1]
AIRFLOW_SERVICES = {
    "airflow-init",
    "airflow-apiserver",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-worker",
    "airflow-triggerer",
}
BACKING_SERVICES = {"postgres", "redis", "s3"}
# Each component must have the same, or tokens and connections of one are noise to another.
SHARED_SECRETS = {
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
}
SECRET_NAME = re.compile(r"PASSWORD|SECRET|FERNET|ACCESS_KEY")
# ${NAME}, ${NAME:-default}, ${NAME-default}, ${NAME:?message}; $$ is a literal dollar.
REFERENCE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?P<rest>[^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return document


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def dockerfile() -> Iterator[tuple[str, list[str]]]:
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            instruction, _, rest = line.partition(" ")
            yield instruction, shlex.split(rest)


def test_the_deployment_has_exactly_these_services(services: dict[str, Any]) -> None:
    assert set(services) == AIRFLOW_SERVICES | BACKING_SERVICES


@pytest.mark.parametrize("name", sorted(AIRFLOW_SERVICES))
def test_every_airflow_service_runs_the_projects_image(services: dict[str, Any], name: str) -> None:
    assert services[name]["image"].startswith("${IMAGE:-")
    assert (ROOT / services[name]["build"] / "Dockerfile").is_file()


@pytest.mark.parametrize("name", sorted(AIRFLOW_SERVICES))
def test_every_setting_reaches_every_airflow_service(services: dict[str, Any], name: str) -> None:
    assert SETTINGS.keys() - services[name]["environment"].keys() == set()


def test_a_setting_is_passed_under_its_own_name_or_from_a_default(services: dict[str, Any]) -> None:
    environment = services["airflow-worker"]["environment"]
    for setting in SETTINGS:
        value = environment[setting]
        assert value is None or value.startswith((f"${{{setting}:-", f"${{{setting}-")), setting


def resolved(value: str, given: dict[str, str]) -> str:
    """What compose makes of a value: names replaced from inside out, defaults where not given."""
    innermost = re.compile(r"\$\{(\w+)(?::?-([^{}]*)|:\?[^{}]*)?\}")
    while match := innermost.search(value):
        known = given.get(match[1], match[2] or "")
        value = value[: match.start()] + known + value[match.end() :]
    return value


def test_with_nothing_but_secrets_the_settings_point_at_the_deployment(
    services: dict[str, Any],
) -> None:
    environment = services["airflow-worker"]["environment"]
    given = {
        name: resolved(value, {"PIPELINE_DB_PASSWORD": "pw"})
        for name, value in environment.items()
        if value
    }
    settings = Settings.from_environment(given)
    assert settings.database_url == "postgresql://pipeline:pw@postgres:5432/billing"
    assert settings.s3_enabled
    assert settings.s3_endpoint_url == "http://s3:8333"
    assert f"-bucket={settings.s3_bucket}" in [
        resolved(word, {}) for word in services["s3"]["command"]
    ]


def test_only_what_migrates_has_the_login_that_owns_the_database(services: dict[str, Any]) -> None:
    with_it = {
        name
        for name, service in services.items()
        if "POSTGRES_PASSWORD" in json.dumps(service) and name != "postgres"
    }
    assert with_it == {"airflow-init"}


def test_the_logins_of_a_new_volume_are_enough(compose: dict[str, Any], tmp_path: Path) -> None:
    """The script, on a server of its own; then each login does its part, and no other."""
    script = compose["configs"]["logins"]["content"]
    passwords = {"AIRFLOW_DB_PASSWORD": "a" * 48, "PIPELINE_DB_PASSWORD": "b" * 48}
    with EmbeddedPostgres(tmp_path / "server") as server:
        owner = server.url("postgres")
        with psycopg.connect(owner, autocommit=True) as connection:
            for statement in resolved(script, passwords).split(";\n"):
                connection.execute(statement.encode())
            connection.execute("create database billing")
        where = owner.rpartition("@")[2].replace("/postgres", "/{}")
        as_airflow = f"postgresql://airflow:{'a' * 48}@{where.format('airflow')}"
        as_pipeline = f"postgresql://pipeline:{'b' * 48}@{where.format('billing')}"
        with psycopg.connect(as_airflow) as connection:
            connection.execute("create table public.of_airflow (id int)")
        migrate(server.url("billing"))
        with psycopg.connect(as_pipeline) as connection:
            runs = connection.execute("select count(*) from billing_core.runs").fetchone()
            assert runs == (0,)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("alter table billing_core.facts add column of_pipeline int")
        with (
            psycopg.connect(as_pipeline.replace("/billing", "/airflow")) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute("select from public.of_airflow")


def test_an_unset_event_type_setting_stays_unset(services: dict[str, Any]) -> None:
    # An empty value would mean "export nothing".
    assert services["airflow-worker"]["environment"]["BILLING_EVENT_TYPES"] is None


@pytest.mark.parametrize("name", sorted(AIRFLOW_SERVICES))
def test_components_share_secrets_and_addresses(services: dict[str, Any], name: str) -> None:
    shared = {key: services[name]["environment"][key] for key in SHARED_SECRETS}
    assert shared == {
        key: services["airflow-scheduler"]["environment"][key] for key in SHARED_SECRETS
    }


def test_tasks_run_on_celery_with_the_deployments_own_broker(services: dict[str, Any]) -> None:
    environment = services["airflow-worker"]["environment"]
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert environment["AIRFLOW__CELERY__BROKER_URL"].endswith("@redis:6379/0")
    assert environment["AIRFLOW__CELERY__RESULT_BACKEND"].startswith("db+postgresql+psycopg://")
    # The execution API is where the apiserver service listens.
    assert "//airflow-apiserver:8080/" in environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("airflow-apiserver", "airflow api-server"),
        ("airflow-scheduler", "airflow scheduler"),
        ("airflow-dag-processor", "airflow dag-processor"),
        ("airflow-worker", "airflow celery worker"),
        ("airflow-triggerer", "airflow triggerer"),
    ],
)
def test_each_component_starts_its_command(
    services: dict[str, Any], name: str, command: str
) -> None:
    assert " ".join(services[name]["command"]).endswith(command)


def test_both_schemas_are_migrated_before_anything_else_starts(services: dict[str, Any]) -> None:
    script = services["airflow-init"]["command"][-1]
    assert script == "airflow db migrate && python -m billing_etl migrate"
    for name in AIRFLOW_SERVICES - {"airflow-init"}:
        dependency = services[name]["depends_on"]["airflow-init"]
        assert dependency == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("name", sorted((AIRFLOW_SERVICES | BACKING_SERVICES) - {"airflow-init"}))
def test_every_lasting_service_tells_its_health_and_comes_back(
    services: dict[str, Any], name: str
) -> None:
    assert services[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert services[name]["restart"] == "unless-stopped"


def test_dependencies_are_services_that_can_be_waited_for(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, dependency in service.get("depends_on", {}).items():
            if dependency["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for {other}"


def test_a_missing_secret_stops_the_deployment_with_its_name(compose: dict[str, Any]) -> None:
    text = json.dumps(compose)
    secrets = [match for match in REFERENCE.finditer(text) if SECRET_NAME.search(match["name"])]
    assert {match["name"] for match in secrets} == {
        "AIRFLOW_ADMIN_PASSWORD",
        "AIRFLOW_DB_PASSWORD",
        "AIRFLOW_FERNET_KEY",
        "AIRFLOW_JWT_SECRET",
        "AIRFLOW_SECRET_KEY",
        "BILLING_S3_ACCESS_KEY",
        "BILLING_S3_SECRET_KEY",
        "PIPELINE_DB_PASSWORD",
        "POSTGRES_PASSWORD",
        "REDIS_PASSWORD",
    }
    without_error = [match[0] for match in secrets if not match["rest"].startswith(":?")]
    assert without_error == []


def test_only_the_ui_is_published_and_only_on_this_machine(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"airflow-apiserver": ["127.0.0.1:${AIRFLOW_PORT:-8080}:8080"]}


def test_data_lives_in_declared_volumes(compose: dict[str, Any]) -> None:
    used = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    }
    assert used == set(compose["volumes"])


def test_generated_files_are_declared(compose: dict[str, Any]) -> None:
    used = {
        entry["source"]
        for service in compose["services"].values()
        for entry in service.get("configs", [])
    }
    assert used == set(compose["configs"])


def test_the_s3_keys_are_the_keys_that_the_tasks_use(compose: dict[str, Any]) -> None:
    keys = REFERENCE.sub(lambda match: match["name"], compose["configs"]["s3-keys"]["content"])
    (identity,) = json.loads(keys)["identities"]
    assert identity["credentials"] == [
        {"accessKey": "BILLING_S3_ACCESS_KEY", "secretKey": "BILLING_S3_SECRET_KEY"}
    ]
    environment = compose["services"]["airflow-worker"]["environment"]
    assert environment["AWS_ACCESS_KEY_ID"] == "${BILLING_S3_ACCESS_KEY:?}"
    assert environment["AWS_SECRET_ACCESS_KEY"] == "${BILLING_S3_SECRET_KEY:?}"


def test_the_image_has_every_room_that_a_task_needs() -> None:
    copied = [words[0] for instruction, words in dockerfile() if instruction == "COPY"]
    assert set(copied) == {"requirements.txt", "billing_etl", "sql", "dags", "plugins"}
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_nothing_that_is_copied_is_kept_out_of_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = {words[0] for instruction, words in dockerfile() if instruction == "COPY"}
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_the_image_installs_locked_packages_only() -> None:
    installs = [words for _, words in dockerfile() if "pip" in words and "install" in words]
    assert len(installs) == 1
    assert {"--require-hashes", "-r"} <= set(installs[0])


def test_the_image_runs_as_an_ordinary_user_on_the_supported_python() -> None:
    steps = list(dockerfile())
    assert ("FROM", ["python:3.11-slim"]) in steps
    users = [words for instruction, words in steps if instruction == "USER"]
    assert users == [["airflow"]]
    # What follows USER runs without root: only the working directory, the port and the command.
    after = [instruction for instruction, _ in steps[steps.index(("USER", ["airflow"])) + 1 :]]
    assert after == ["WORKDIR", "EXPOSE", "CMD"]


# --- what a container may do -------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(AIRFLOW_SERVICES))
def test_an_airflow_container_writes_to_memory_and_logs_only(
    services: dict[str, Any], name: str
) -> None:
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    writable = {each.partition(":")[0] for each in service["tmpfs"]}
    writable |= {each.split(":")[1] for each in service["volumes"]}
    assert writable == {"/tmp", "/opt/airflow", "/opt/airflow/logs"}
    # What memory hides must belong to the user of the image, by the number that it has there.
    (run,) = (
        words for instruction, words in dockerfile() if instruction == "RUN" and "useradd" in words
    )
    uid = run[run.index("--uid") + 1]
    assert any(each.startswith(f"/opt/airflow:uid={uid},gid={uid},") for each in service["tmpfs"])


def test_no_container_gains_privileges(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.keys().isdisjoint({"privileged", "devices", "pid", "ipc", "network_mode"})
        assert not any("docker.sock" in volume for volume in service.get("volumes", []))
        assert service.get("user") != "root"
    # Only what has to hand a volume over begins with more.
    added = {name for name, service in services.items() if "cap_add" in service}
    assert added == {"postgres"}
    assert {name for name, each in services.items() if "cap_drop" not in each} == {"s3"}


def test_no_secret_is_in_a_layer_of_the_image() -> None:
    """Nothing is given while it is built: no argument, no secret variable, no file of secrets."""
    steps = list(dockerfile())
    assert {instruction for instruction, _ in steps}.isdisjoint({"ARG", "ADD"})
    named = [word for instruction, words in steps if instruction == "ENV" for word in words]
    assert [word for word in named if re.search("PASSWORD|SECRET|TOKEN|KEY", word)] == []
    for source in (words[0] for instruction, words in steps if instruction == "COPY"):
        found = (ROOT / source).rglob("*") if (ROOT / source).is_dir() else [ROOT / source]
        for path in found:
            assert not re.search(r"\.env$|\.pem$|\.key$|credentials", path.name), path
