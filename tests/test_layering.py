"""Imports flow one way, pure packages touch nothing outside, files and functions stay short."""

import ast
from collections.abc import Iterator
from pathlib import Path

import horizon_bo
from tests.flow import FLOW, PICTURE, PURE, STYLE, allowed, picture

ROOT = Path(horizon_bo.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
NAMES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
MOST_LINES, MOST_STATEMENTS, MOST_MODULES = 400, 40, 20
IMPURE = {
    *("ax", "http", "io", "os", "pathlib", "random", "requests", "rich", "shutil", "socket"),
    *("sqlalchemy", "sqlite3", "subprocess", "sys", "tempfile", "time", "typer", "urllib"),
}


def imported(path: Path) -> set[str]:
    """Dotted names of all that a file imports, also inside functions, with the names taken."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def modules_of(path: Path) -> set[str]:
    """Modules of ours that a file needs to be loaded, those for type checkers aside."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("horizon_bo."):
            for alias in node.names:
                full = f"{node.module}.{alias.name}".removeprefix("horizon_bo.")
                found.add(full if full in NAMES else node.module.removeprefix("horizon_bo."))
    return found & set(NAMES)


def circles() -> Iterator[str]:
    """Circles among the modules of a package, each by its shortest way round."""
    graph = {name: modules_of(path) for name, path in NAMES.items()}
    for start in graph:
        ways = [(start, step) for step in graph[start]]
        seen = set()
        while ways:
            way = ways.pop(0)
            if way[-1] == start:
                if start == min(way):
                    yield " > ".join(way)
                break
            if way[-1] not in seen:
                seen.add(way[-1])
                ways += [(*way, step) for step in sorted(graph[way[-1]])]


def told(offenders: list[str], rule: str) -> str:
    return "\n".join([f"{len(offenders)} against: {rule}", *offenders])


def test_every_package_has_its_place_in_the_order():
    known = {name for row in FLOW for name in row} | {"training", "data"}
    assert {package(path) for path in FILES} <= known


def test_imports_flow_one_way():
    offenders = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in FILES
        for name in sorted(imported(path))
        if name.startswith("horizon_bo.")
        and name.split(".")[1] in {name for row in FLOW for name in row} | {"training"}
        and name.split(".")[1] not in allowed(package(path))
    ]
    assert not offenders, told(offenders, f"a package imports only from its left, {picture()}")


def test_modules_do_not_import_in_circles():
    offenders = sorted(circles())
    assert not offenders, told(offenders, "no circle between files")


def test_pure_packages_touch_nothing_outside():
    offenders = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in FILES
        if package(path) in PURE
        for name in sorted({name.split(".")[0] for name in imported(path)} & IMPURE)
    ]
    assert not offenders, told(offenders, f"{', '.join(PURE)} are pure")


def body_lines(function: ast.FunctionDef) -> int:
    """Lines of a function without its docstring."""
    assert function.end_lineno is not None
    said = function.body[0] if ast.get_docstring(function, clean=False) is not None else None
    lines = function.end_lineno - function.lineno + 1
    return lines - (said.end_lineno - said.lineno + 1 if said else 0)


def test_files_and_functions_stay_short():
    offenders = []
    for path in FILES:
        text = path.read_text()
        here = path.relative_to(ROOT)
        if len(text.splitlines()) > MOST_LINES:
            offenders.append(f"{here}: {len(text.splitlines())} lines, at most {MOST_LINES}")
        offenders += [
            f"{here}: {node.name} has {body_lines(node)} lines, at most {MOST_STATEMENTS}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef) and body_lines(node) > MOST_STATEMENTS
        ]
    folders = {path.parent for path in FILES}
    offenders += [
        f"{folder.relative_to(ROOT)}: {count} modules, at most {MOST_MODULES}"
        for folder in sorted(folders)
        if (count := len([*folder.glob("[!_]*.py")])) > MOST_MODULES
    ]
    assert not offenders, told(offenders, "short files, short functions, small folders")


def test_the_style_guide_shows_the_order_that_is_tested():
    shown = PICTURE.search(STYLE.read_text())
    assert shown is not None
    assert shown.group() == picture()
