"""A folder with an export of Freshdesk: which file lists what, in which order they are read, and what they tell.

A file is named after what it lists, as `contacts.json`; it may be split, as `tickets_001.json` or `tickets/2.json`,
packed (`.gz`), and hold an array or an object a line. A file of another name is left alone and named to the caller.

Memory stays flat: what is read at once is an object, and an object is not larger than a record may be.

Rule: names of files may be said, and nothing that is in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

import orjson

from domain.errors import SettingsWrong
from services import reading_files
from services.freshdesk.objects import Told, told_by
from services.freshdesk.shapes import LISTED
from services.records import RECORD_BYTES

#: Other names of the same lists.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "satisfaction_ratings": "ratings",
        "threads": "discussions",
        "collaboration_threads": "discussions",
        "discussion_messages": "messages",
        "collaboration_messages": "messages",
        "forum_categories": "categories",
        "forum_topics": "topics",
        "forum_comments": "comments",
        "solution_categories": "article_categories",
        "solution_folders": "article_folders",
        "solution_articles": "articles",
    }
)
_ENDINGS = re.compile(r"\.(?:json|jsonl|ndjson)(?:\.gz)?$")
#: What tells the parts of a split list apart.
_PART = re.compile(r"(?:[-_. ]?(?:page|part))?[-_. ]?\d+$")


@dataclass(slots=True)
class Export:
    """What a folder holds: (kind, file) in the order of reading, and the names of files that list nothing known.

    `size` is in bytes, and `done` how many of them are read; a packed file counts once it is read.
    """

    files: tuple[tuple[str, Path], ...]
    others: tuple[str, ...]
    size: int
    done: int = field(default=0)

    def told(self, *, at: datetime) -> Iterator[Told]:
        """Read every file, object by object.

        Raises:
            SettingsWrong: a file cannot be read, or breaks off.
        """
        before = 0
        for kind, path in self.files:
            with reading_files.opened(str(path)) as file:
                for raw in reading_files.objects(file):
                    if path.suffix != ".gz":
                        self.done = before + file.tell()
                    yield from told_by(kind, raw, at=at)
            before += path.stat().st_size
            self.done = before


def export_in(folder: Path) -> Export:
    """Find the files of an export, and look whether each can be read.

    Raises:
        SettingsWrong: there is no such folder, nothing in it lists anything, or a file cannot be read or is no JSON.
    """
    if not folder.is_dir():
        raise SettingsWrong(f"{folder} is no folder. An export of Freshdesk is a folder of files such as tickets.json.")
    found: list[tuple[str, Path]] = []
    others: list[str] = []
    try:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if (kind := kind_of(path.name)) is not None and path.is_file():
                found.append((kind, path))
            elif path.is_dir() and (kind := _kind(path.name)) is not None:
                parts = [part for part in sorted(path.iterdir()) if not part.name.startswith(".")]
                found += [(kind, part) for part in parts if _ENDINGS.search(part.name) and part.is_file()]
                others += [f"{path.name}/{part.name}" for part in parts if (kind, part) not in found]
            else:
                others.append(path.name)
    except OSError as error:
        raise SettingsWrong(f"The folder {folder} cannot be read: {error.strerror}.") from error
    if not found:
        raise SettingsWrong(f"Nothing in {folder} lists anything. Files are named {', '.join(LISTED)}, each .json.")
    order = list(LISTED)
    found.sort(key=lambda one: (order.index(one[0]), _natural(one[1])))
    for _, path in found:
        _check(path)
    return Export(tuple(found), tuple(others), sum(path.stat().st_size for _, path in found))


def kind_of(name: str) -> str | None:
    """Tell what a file of this name lists; None if nothing that is known."""
    stem, endings = _ENDINGS.subn("", name.lower())
    return _kind(stem) if endings else None


def _kind(stem: str) -> str | None:
    name = _PART.sub("", stem.lower()).replace("-", "_").replace(" ", "_")
    name = ALIASES.get(name, name)
    return name if name in LISTED else None


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort the tenth part after the second."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", str(path))]


def _check(path: Path) -> None:
    """Look at the beginning of a file.

    Raises:
        SettingsWrong: it cannot be opened, or holds neither an array nor an object a line.
    """
    with reading_files.opened(str(path)) as file:
        line = b" "
        while line and not (begin := line.removeprefix(b"\xef\xbb\xbf").lstrip()):
            line = file.readline(RECORD_BYTES)
        if not line or begin.startswith(b"["):
            return
        try:
            first = orjson.loads(begin)
        except orjson.JSONDecodeError:
            first = None
        lists = isinstance(first, dict) and "id" not in first and any(isinstance(one, list) for one in first.values())
        if not isinstance(first, dict) or lists:
            raise SettingsWrong(f"The file {path} holds neither an array of objects nor an object a line.")
