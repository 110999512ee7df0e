"""The rooms of docs/architecture.md against the imports, names and sizes of every file.

The table in that document is the rule; this file reads it and walks the syntax trees. The last
section plants one violation of each kind in a small package and expects it to be found.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "adiff_jax"
MAX_LINES = 300
JAX_FREE = ("data", "audio/io")
LOADS_FILES = "experiment"
"""The one file that imports by a string: a config file, whose path the user gives."""


@dataclass(frozen=True)
class Room:
    """One row of the table; `name` is a path below the package, without ".py"."""

    name: str
    level: int
    packages: frozenset[str]
    lazy: frozenset[str]


@dataclass(frozen=True)
class Import:
    """One imported module of one file; `lazy` when it runs inside a function or never."""

    module: str
    line: int
    lazy: bool


def rooms_of_table(text: str) -> tuple[Room, ...]:
    """Rows `| level | room | what | may import | lazily |` of a markdown table."""

    def names(cell: str) -> list[str]:
        return re.findall(r"`([^`]+)`", cell)

    rooms = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and cells[0].isdigit():
            level, room, _, packages, lazy = cells
            (name,) = names(room)
            rooms.append(Room(name, int(level), frozenset(names(packages)), frozenset(names(lazy))))
    return tuple(rooms)


ROOMS = rooms_of_table((REPOSITORY / "docs" / "architecture.md").read_text())


def files_of(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def place(path: Path, package: Path) -> str:
    """ "audio/io" for <package>/audio/io.py, "audio" for its __init__.py, "" for the root."""
    relative = path.relative_to(package).with_suffix("")
    if relative.name == "__init__":
        relative = relative.parent
    return "" if relative == Path(".") else relative.as_posix()


def room_of(where: str, rooms: tuple[Room, ...]) -> Room | None:
    """The room with the longest matching path."""
    matches = [r for r in rooms if where == r.name or where.startswith(r.name + "/")]
    return max(matches, key=lambda room: len(room.name), default=None)


def imports_of(path: Path, package: Path) -> Iterator[Import]:
    """Every import statement of a file; `from package import x` gives package.x for a module x."""

    def is_type_checking(node: ast.AST) -> bool:
        return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                below = package.parent / base.replace(".", "/") / alias.name
                is_module = below.with_suffix(".py").exists() or below.is_dir()
                yield Import(f"{base}.{alias.name}" if is_module else base, node.lineno, lazy)
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        inner = lazy or function or is_type_checking(node)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inner)

    yield from visit(ast.parse(path.read_text(), str(path)), lazy=False)


def within(module: str, package: Path) -> str | None:
    """The place of a module of the package ("" for its root); None for any other module."""
    if module == package.name or module.startswith(package.name + "."):
        return module[len(package.name) + 1 :].replace(".", "/")
    return None


def import_violations(package: Path, rooms: tuple[Room, ...]) -> list[str]:
    """Imports that go up or sideways, and third-party packages outside their rooms."""
    found = []
    for path in files_of(package):
        where = place(path, package)
        room = room_of(where, rooms)
        if room is None and where:
            if path.read_text().strip():
                found.append(f"{where}: in no room of docs/architecture.md")
            continue
        for item in imports_of(path, package):
            complaint = complain(item, room, package, rooms)
            if complaint:
                found.append(f"{where or 'root'}:{item.line}: {complaint}")
    return found


def complain(item: Import, room: Room | None, package: Path, rooms: tuple[Room, ...]) -> str:
    """What is wrong with an import of a file in `room` (None for the package root), or ""."""
    if item.module.startswith("."):
        return "relative import; write the full name"
    target = within(item.module, package)
    top = item.module.split(".")[0]
    if room is None:
        foreign = target is not None or top not in sys.stdlib_module_names
        return f"the root imports {item.module} eagerly" if foreign and not item.lazy else ""
    if target is None:
        if top in sys.stdlib_module_names or top in room.packages:
            return ""
        if top in room.lazy:
            return "" if item.lazy else f"{top} must be imported inside a function"
        return f"{top} is not allowed in {room.name}"
    if target == "":
        return ""  # the root holds the version and nothing that could go up
    other = room_of(target, rooms)
    if other is None:
        return f"{item.module} is in no room"
    family = other.name.split("/")[0] == room.name.split("/")[0] and other.level == room.level
    if other.level < room.level or other == room or family:
        return ""
    return f"{room.name} (level {room.level}) imports {other.name} (level {other.level})"


def jax_violations(package: Path, jax_free: tuple[str, ...]) -> list[str]:
    """Files of jax-free rooms that reach jax or flax by the imports of the package's files."""
    graph = {
        place(path, package): {item.module for item in imports_of(path, package)}
        for path in files_of(package)
    }

    def trail(where: str, seen: frozenset[str]) -> list[str]:
        for module in sorted(graph.get(where, ())):
            if module.split(".")[0] in ("jax", "flax", "jaxlib"):
                return [where, module]
            target = within(module, package)
            if target and target not in seen:
                rest = trail(target, seen | {target})
                if rest:
                    return [where, *rest]
        return []

    trails = [
        trail(where, frozenset({where}))
        for where in graph
        if any(where == name or where.startswith(name + "/") for name in jax_free)
    ]
    return [" -> ".join(found) for found in trails if found]


def file_violations(package: Path, max_lines: int = MAX_LINES) -> list[str]:
    """Long files, grab-bag names, unfinished work, imports by string, missing docstrings."""
    found = []
    for path in files_of(package):
        where, text = place(path, package) or "root", path.read_text()
        tree = ast.parse(text, str(path))
        if len(text.splitlines()) > max_lines:
            found.append(f"{where}: {len(text.splitlines())} lines, more than {max_lines}")
        if path.stem in ("utils", "util", "helpers", "misc", "common"):
            found.append(f"{where}: a name that says nothing; give its parts to their rooms")
        if re.search(r"\b(TODO|FIXME|XXX)\b", text):
            found.append(f"{where}: unfinished work")
        if text.strip() and not ast.get_docstring(tree):
            found.append(f"{where}: no module docstring")
        for node in ast.walk(tree):
            name = getattr(node, "id", getattr(node, "attr", ""))
            by_string = name in ("import_module", "__import__") and where != LOADS_FILES
            if by_string or name == "NotImplementedError":
                found.append(f"{where}:{node.lineno}: {name}")  # type: ignore[attr-defined]
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
            if public and not ast.get_docstring(node):
                found.append(f"{where}:{node.lineno}: {node.name} has no docstring")
    return found


# The package itself.


def test_imports_follow_the_table() -> None:
    assert import_violations(PACKAGE, ROOMS) == []


def test_every_room_of_the_table_exists() -> None:
    for room in ROOMS:
        path = PACKAGE / room.name
        assert path.is_dir() or path.with_suffix(".py").exists(), room.name


def test_data_and_audio_files_reach_no_jax() -> None:
    assert jax_violations(PACKAGE, JAX_FREE) == []


def test_files_are_small_named_finished_and_described() -> None:
    assert file_violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("package", "only"),
    [
        ("optax", {"train"}),
        ("orbax", {"checkpoint"}),
        ("torch", {"torch_layers", "convert"}),
        ("tensorflow", {"data/builders"}),
        ("apache_beam", {"data/builders"}),
        ("tyro", {"verbs"}),
        ("openai", {"data/writing"}),
        ("cattrs", {"experiment_json", "data/records"}),
    ],
)
def test_the_table_keeps_a_package_in_its_rooms(package: str, only: set[str]) -> None:
    assert {r.name for r in ROOMS if package in r.packages | r.lazy} <= only


def test_the_table_keeps_heavy_packages_lazy() -> None:
    eager = frozenset().union(*(room.packages for room in ROOMS))
    assert not eager & {"torch", "tensorflow", "apache_beam", "matplotlib"}


def test_importing_the_data_room_starts_no_backend() -> None:
    modules = [
        "adiff_jax." + place(path, PACKAGE).replace("/", ".")
        for path in [*files_of(PACKAGE / "data"), PACKAGE / "audio" / "io.py"]
    ]
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "assert not {'torch', 'tensorflow', 'flax'} & set(sys.modules)\n"
        "if 'jax' in sys.modules:\n"
        "    from jax._src import xla_bridge\n"
        "    assert not xla_bridge.backends_are_initialized()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# The checker: each planted violation is found.

TOY_TABLE = """
| level | room | what | may import | lazily |
|---|---|---|---|---|
| 0 | `low` | | `numpy` | |
| 0 | `deep/floor` | | | |
| 1 | `deep` | | `jax` | `torch` |
| 1 | `side` | | | |
"""


def toy(root: Path, **files: str) -> Path:
    """A package `toy` with the given files: `deep__floor="..."` is toy/deep/floor.py."""
    package = root / "toy"
    for name, text in {"__init__": "", "deep____init__": "", **files}.items():
        path = package / (name.replace("deep__", "deep/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


def toy_complaints(root: Path, **files: str) -> list[str]:
    return import_violations(toy(root, **files), rooms_of_table(TOY_TABLE))


def test_imports_that_the_table_allows_pass(tmp_path: Path) -> None:
    assert not toy_complaints(
        tmp_path,
        low="import math\nimport numpy.linalg",
        deep__floor="",
        deep__top="import jax\nfrom toy import low\nfrom toy.deep import floor, other\n"
        "def f():\n    import torch",
        deep__other="from toy import __version__",
        side="from toy.deep.floor import x",
    )


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"low": "import toy.deep.top"}, "low:1: low (level 0) imports deep (level 1)"),
        ({"low": "def f():\n    from toy import side"}, "low:2: low (level 0) imports side"),
        ({"deep__floor": "from toy.deep.top import x"}, "deep/floor:1: deep/floor (level 0)"),
        ({"deep__top": "from toy import side"}, "deep/top:1: deep (level 1) imports side"),
        ({"deep__top": "from . import floor"}, "deep/top:1: relative import"),
        ({"low": "import jax.numpy as jnp"}, "low:1: jax is not allowed in low"),
        ({"deep__top": "import torch"}, "deep/top:1: torch must be imported inside a function"),
        ({"deep__top": "if True:\n    import torch"}, "deep/top:2: torch must be imported"),
        ({"attic": "x = 1"}, "attic: in no room"),
        ({"__init__": "from toy import low"}, "root:1: the root imports toy"),
        ({"__init__": "import numpy"}, "root:1: the root imports numpy"),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    (found,) = toy_complaints(tmp_path, **{"low": "", "side": "", "deep__floor": "", **files})
    assert found.startswith(complaint)


def test_jax_reached_through_another_file_is_found(tmp_path: Path) -> None:
    package = toy(tmp_path, low="from toy.deep import top", deep__top="import flax.linen", side="")
    assert jax_violations(package, ("low", "side")) == ["low -> deep/top -> flax.linen"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("low", '"""Doc."""\n' + "x = 1\n" * MAX_LINES, "low: 301 lines"),
        ("utils", '"""Doc."""', "utils: a name that says nothing"),
        ("low", '"""Doc."""\n# TODO: later', "low: unfinished work"),
        ("low", "x = 1", "low: no module docstring"),
        ("low", '"""Doc."""\ndef _f():\n    raise NotImplementedError', "low:3: NotImpl"),
        ("low", '"""Doc."""\nimport importlib\nimportlib.import_module("jax")', "low:3: import_"),
        ("low", '"""Doc."""\ndef f():\n    return 1', "low:2: f has no docstring"),
        ("low", '"""Doc."""\nclass C:\n    x: int', "low:2: C has no docstring"),
    ],
)
def test_a_planted_blemish_is_found(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (found,) = file_violations(toy(tmp_path, **{name: text}))
    assert found.startswith(complaint)


def test_a_whole_file_passes(tmp_path: Path) -> None:
    text = '"""Doc."""\n\n\ndef f():\n    """Doc."""\n\n\ndef _g():\n    return 1\n'
    assert file_violations(toy(tmp_path, low=text)) == []
