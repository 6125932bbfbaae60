"""The documents are true of the code: what they name exists, and what exists is named."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("domain", "crypto", "projections", "services")
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").glob("*.md"),
    ]
)
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
MODULES = sorted(
    path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.stem != "__init__"
)
#: Folders of Python modules, each with a map in its docstring.
MAPS = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("__init__.py"))
SETTING = re.compile(r"SEALDESK_[A-Z]+(?:_[A-Z]+)*")
NODE = re.compile(r"(?<=`)(tests/[\w/]+\.py)?((?:::\w+)+)(?=`)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def _tests_of(path: Path) -> set[str]:
    """List the node ids of a test file, without running it: functions, and methods under their class."""
    return set(_named(ast.parse(path.read_text()), path.relative_to(ROOT).as_posix()))


def _named(node: ast.AST, above: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from _named(child, f"{above}::{child.name}")
        elif isinstance(child, ast.FunctionDef) and child.name.startswith("test_"):
            yield f"{above}::{child.name}"


def _nodes_in(text: str) -> list[str]:
    """List the tests that a document names; `::test_name` alone belongs to the file that was named last."""
    found: list[str] = []
    file = ""
    for match in NODE.finditer(text):
        file = match[1] or file
        found.append(file + match[2])
    return found


def _relative_links(document: Path) -> list[str]:
    targets = LINK.findall(FENCE.sub("", document.read_text()))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def _anchors(document: Path) -> set[str]:
    """List the anchors that a document's headings have on a forge: small letters, hyphens for spaces, no signs."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def _settings_in_code() -> set[str]:
    """List the settings that string literals of the code name, and leave out what docstrings alone say."""
    found: set[str] = set()
    for module in MODULES:
        tree = ast.parse((ROOT / module).read_text())
        said = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
                found.update(SETTING.findall(node.value))
    return found


def _id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_absolute() else path.as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=_id)
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    named = _nodes_in(document.read_text())
    files = {ROOT / node.partition("::")[0] for node in named}
    exist = {node for file in files if file.is_file() for node in _tests_of(file)}
    assert [node for node in named if node not in exist] == []


def test_every_rule_of_the_house_has_a_line_that_names_a_test_or_says_that_there_is_none() -> None:
    lines = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|$", ARCHITECTURE, re.MULTILINE)
    assert [int(number) for number, _, _ in lines] == list(range(1, 14))
    assert [number for number, _, guards in lines if not _nodes_in(guards) and "no test yet" not in guards] == []


@pytest.mark.parametrize("module", MODULES, ids=_id)
def test_every_module_stands_in_the_architecture(module: Path) -> None:
    assert f"`{module.as_posix()}`" in ARCHITECTURE


def test_every_module_that_the_architecture_names_exists() -> None:
    named = set(re.findall(r"`((?:domain|crypto|projections|services)/[\w/]+\.py)`", ARCHITECTURE))
    assert sorted(named - {module.as_posix() for module in MODULES}) == []


@pytest.mark.parametrize("package", MAPS, ids=_id)
def test_the_map_of_a_folder_lists_every_module_in_it(package: Path) -> None:
    folder = (ROOT / package).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    modules |= {f"{inner.name}/" for inner in folder.iterdir() if any(inner.glob("*.sql")) or any(inner.glob("*.py"))}
    docstring = ast.get_docstring(ast.parse((ROOT / package).read_text())) or ""
    listed = set(re.findall(r"^([a-z_]+/?) +\S", docstring, re.MULTILINE))
    assert listed == modules


def test_every_setting_that_the_code_reads_stands_in_the_readme() -> None:
    readme = set(SETTING.findall((ROOT / "README.md").read_text()))
    assert sorted(_settings_in_code() - readme) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_id)
def test_relative_links_resolve(document: Path) -> None:
    broken: list[str] = []
    for target in _relative_links(document):
        path, _, anchor = target.partition("#")
        meant = (document.parent / path).resolve() if path else document
        if not meant.exists() or (anchor and anchor not in _anchors(meant)):
            broken.append(target)
    assert broken == []


def test_every_decision_stands_under_its_number() -> None:
    titles = {path.name: path.read_text().splitlines()[0] for path in sorted((ROOT / "docs/adr").glob("*.md"))}
    assert [int(name[:4]) for name in titles] == list(range(1, len(titles) + 1))
    assert [name for name, title in titles.items() if not title.startswith(f"# {int(name[:4])}. ")] == []
