"""Every generated document: written by `make docs`, and compared with what stands in `docs/` by a test.

python -m services.describing.documents
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.describing import agreement, asyncapi, data_map, events, notice, ropa
from services.describing.markdown import GENERATED
from services.describing.operator import NOBODY
from services.describing.schemas import all_schemas

#: Where the documents of a clone stand.
DOCS = Path(__file__).parents[2] / "docs"
#: A folder that holds generated files alone: what is not generated any more goes.
SCHEMAS = "events"


def documents() -> dict[str, str]:
    """Write every generated document, by its path below `docs/`."""
    return {
        "data-map.md": data_map.markdown(),
        "data-map.json": _rows(data_map.as_data()),
        "events.md": events.markdown(),
        "asyncapi.json": _tree(asyncapi.document()),
        "ropa.md": ropa.markdown(NOBODY),
        "notice.md": _noted(notice.markdown(NOBODY)),
        "processing-agreement.md": _noted(agreement.markdown(NOBODY)),
        **{f"{SCHEMAS}/{name}": _tree(schema) for name, schema in all_schemas().items()},
    }


def _tree(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _rows(data: Mapping[str, Any]) -> str:
    """Write an object with one entry a line, so that a change shows as the lines that changed."""
    parts = [f"  {json.dumps(name)}: {_row(value)}" for name, value in data.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _row(value: Any) -> str:
    if isinstance(value, list):
        return "[\n" + ",\n".join(f"    {json.dumps(item, ensure_ascii=False)}" for item in value) + "\n  ]"
    named = (f"    {json.dumps(name)}: {json.dumps(item, ensure_ascii=False)}" for name, item in value.items())
    return "{\n" + ",\n".join(named) + "\n  }"


def _noted(text: str) -> str:
    """Say below the title of a text that it was generated."""
    title, _, rest = text.partition("\n\n")
    return f"{title}\n\n{GENERATED}\n\n{rest}"


def stale(folder: Path = DOCS) -> list[str]:
    """Name the files that differ from what the code gives now, are missing, or are generated no more."""
    wanted = documents()
    differ = [name for name, text in wanted.items() if _text(folder / name) != text]
    left = [f"{SCHEMAS}/{path.name}" for path in (folder / SCHEMAS).glob("*")]
    return sorted({*differ, *(name for name in left if name not in wanted)})


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def write(folder: Path = DOCS) -> list[str]:
    """Write what differs, remove what is generated no more, and name both."""
    changed = stale(folder)
    wanted = documents()
    (folder / SCHEMAS).mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in wanted:
            (folder / name).write_text(wanted[name], encoding="utf-8")
        else:
            (folder / name).unlink()
    return changed


if __name__ == "__main__":
    for written in write():
        print(f"docs/{written}")
