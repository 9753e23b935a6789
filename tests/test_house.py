"""The lines between the rooms, as docs/architecture.md draws them."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "billing_etl"

GROUND = {"hours", "errors", "masking", "records"}
PURE = {"counters", "rating", "events", "batches", "reconciliation", "statement", "objectives"}
ADAPTERS = {"exporter", "store", "delivery"}
# What each room may import of the others; a room that is not named here does not exist.
MAY_IMPORT = {
    "errors": set[str](),
    "masking": set[str](),
    "records": set[str](),
    "hours": {"errors"},
    "settings": GROUND | {"batches"},  # whose rules a path template has to keep
    **dict.fromkeys(PURE, GROUND),
    **dict.fromkeys(ADAPTERS, GROUND | {"settings"} | PURE),
    "pipeline": GROUND | {"settings"} | PURE | ADAPTERS,
    "http": GROUND | {"settings", "pipeline"},
    "local": GROUND | {"settings", "store", "pipeline"},
    "cli": GROUND | {"settings", "store", "pipeline", "local", "http"},
    "__main__": {"cli"},
}
# The packages through which a room touches the world.
DRIVERS = {"httpx", "tenacity", "psycopg", "boto3", "botocore", "fastapi", "starlette", "uvicorn"}
MAY_DRIVE = {
    "exporter": {"httpx", "tenacity"},
    "store": {"psycopg"},
    "delivery": {"boto3", "botocore"},
    "pipeline": {"psycopg"},  # its errors tell a refused price version from a lost connection
    "http": {"fastapi", "starlette", "uvicorn"},
    "local": {"httpx", "psycopg", "boto3", "botocore"},
}


def _room(path: Path) -> str:
    return path.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, also inside functions, and the line."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides its room"
            module = node.module or ""
            yield module, node.lineno
            # `from billing_etl import store` names a room too.
            if module == PACKAGE:
                for alias in node.names:
                    yield f"{module}.{alias.name}", node.lineno


def _files(*folders: str) -> list[Path]:
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert files
    return files


def _rooms_imported(path: Path) -> Iterator[tuple[str, str]]:
    """The rooms that a file imports, each with the place."""
    known = {_room(file) for file in _files(PACKAGE)}
    for module, line in _imports(path):
        parts = module.split(".")
        if parts[0] == PACKAGE and len(parts) > 1 and parts[1] in known:
            yield parts[1], f"{path.relative_to(ROOT)}:{line}"


def test_every_room_has_its_place_in_the_house() -> None:
    assert {_room(path) for path in _files(PACKAGE)} - {"__init__"} == set(MAY_IMPORT)


def test_the_house_allows_no_way_back() -> None:
    """Nothing that a room may import may import the room."""
    for room, below in MAY_IMPORT.items():
        for other in below - {room}:
            assert room not in MAY_IMPORT[other], f"{room} and {other}"


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    strays = [
        f"{place} imports {other}"
        for path in _files(PACKAGE)
        if _room(path) == room
        for other, place in _rooms_imported(path)
        if other not in MAY_IMPORT[room] | {room}
    ]
    assert strays == []


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_touches_only_its_own_part_of_the_world(room: str) -> None:
    strays = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in _files(PACKAGE)
        if _room(path) == room
        for module, line in _imports(path)
        if module.split(".")[0] in DRIVERS - MAY_DRIVE.get(room, set())
    ]
    assert strays == []


def test_every_pure_room_is_broken_on_purpose() -> None:
    """`make mutate` leaves no room out that needs no service."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["mutmut"]
    mutated = {path for pattern in settings["only_mutate"] for path in ROOT.glob(pattern)}
    pure = {path for path in _files(PACKAGE) if _room(path) in GROUND | PURE}
    assert pure - mutated == set()


@pytest.mark.parametrize("package", ["airflow", "pandas"])
def test_the_package_knows_neither_airflow_nor_pandas(package: str) -> None:
    strays = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in _files(PACKAGE)
        for module, line in _imports(path)
        if module.split(".")[0] == package
    ]
    assert strays == []


def test_airflow_code_reaches_the_work_through_the_pipeline_only() -> None:
    allowed = GROUND | {"settings", "pipeline", "http"}
    strays = [
        f"{place} imports {room}"
        for path in _files("dags", "plugins")
        for room, place in _rooms_imported(path)
        if room not in allowed
    ]
    assert strays == []


def _called(call: ast.Call) -> str:
    return str(getattr(call.func, "attr", getattr(call.func, "id", "")))


def _pasted(part: ast.AST) -> bool:
    """Whether a statement is text with values pasted in.

    ``sql(name)`` reads a statement from its file, whatever its name is made of; and psycopg's
    ``SQL("...").format(...)`` quotes what it is given.
    """
    if isinstance(part, ast.JoinedStr):
        return True
    if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mod):
        return True
    if isinstance(part, ast.Call):
        if _called(part) == "sql":
            return False
        if isinstance(part.func, ast.Attribute) and part.func.attr == "format":
            made = part.func.value
            if not (isinstance(made, ast.Call) and _called(made) == "SQL"):
                return True
    return any(_pasted(child) for child in ast.iter_child_nodes(part))


def _pasted_statements(source: str) -> list[int]:
    """Lines that hand pasted text to ``execute``, ``executemany``, ``copy`` or ``SQL``."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args:
            is_statement = _called(node) in {"execute", "executemany", "copy", "SQL"}
            if is_statement and _pasted(node.args[0]):
                lines.append(node.lineno)
    return lines


def test_no_statement_is_pasted_together() -> None:
    strays = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in _files(PACKAGE, "dags", "plugins")
        for line in _pasted_statements(path.read_text("utf-8"))
    ]
    assert strays == []


@pytest.mark.parametrize(
    ("source", "pasted"),
    [
        ('c.execute("select %s", (x,))', False),
        ('c.execute(SQL("select * from {}").format(Identifier(t)))', False),
        ('c.execute(sql(f"collect/{name}").encode())', False),
        ('c.execute(f"select {x}")', True),
        ('c.execute("select {}".format(x))', True),
        ('c.execute("select %s" % x)', True),
        ('c.execute(SQL(f"select {x}"))', True),
    ],
)
def test_pasted_statements_are_found(source: str, pasted: bool) -> None:
    assert bool(_pasted_statements(source)) is pasted
