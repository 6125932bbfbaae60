"""The demo: some weeks of a small helpdesk, and one person who asks to be forgotten.

`make demo` tells it in the terminal, with the commands that anybody would type, in a folder of its own. It leaves
nothing running and nothing behind.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

from rich.console import Console
from rich.rule import Rule

from services.cli.app import run
from services.embedded import serving
from services.settings import Settings

EXAMPLES = Path(__file__).parent.parent / "examples"
DESK, WORDS = EXAMPLES / "desk.jsonl", EXAMPLES / "acme_vocabulary.toml"
#: Who asks to be forgotten. A neighbour's ticket names him in its text.
ADDRESS = "jonas.petrel@example.org"
PLENTY_OF_COLUMNS = 100


def main() -> None:
    """Tell the story from the first import to the signed account of a shred."""
    began = monotonic()
    with tempfile.TemporaryDirectory(prefix="sealdesk-demo-") as folder, _settings(Path(folder)) as settings:
        story = Story(Console(width=None if sys.stdout.isatty() else PLENTY_OF_COLUMNS, highlight=False), Path(folder))
        story.say("Two PostgreSQL servers and a broker start, for this folder alone.")
        os.environ["COLUMNS"] = str(story.console.width)
        with serving(settings, kafka=True):
            tell(story)
    story.say(f"Everything is stopped, the folder is gone. That took {monotonic() - began:.0f} seconds.")


def tell(story: Story) -> None:
    """Tell the chapters, each of which goes on where the last one ended."""
    _import(story)
    _look(story)
    before = _remember(story)
    certificate = _forget(story)
    _compare(story, before)
    _come_late(story)
    _prove(story, certificate)
    _stream(story)
    _search_at_rest(story)


@dataclass(frozen=True)
class Story:
    """Runs commands where the reader can see them."""

    console: Console
    folder: Path

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self.console.print(Rule(title, align="left", style="cyan"))

    def say(self, text: str) -> None:
        """Tell the reader what to look at."""
        self.console.print(text, style="italic", markup=False)

    def show(self, *words: str, stdin: str = "", status: int = 0) -> str:
        """Run a command, and show it with what it prints. Another exit status than the expected one ends the demo."""
        typed = f"echo {shlex.quote(stdin)} | " if stdin else ""
        self.console.print(f"$ {typed}sealdesk {shlex.join(words)}".replace(str(self.folder), "."), style="bold green")
        printed = self._run(words, stdin, status)
        sys.stdout.write(printed)
        return printed

    def ask(self, *words: str) -> Any:
        """Run a command with --json, unseen, and give what it says."""
        return json.loads(self._run((*words, "--json"), "", 0))

    def check(self, claim: str, holds: bool) -> None:
        """Show that something is so."""
        self.console.print(f"  {'✓' if holds else '✗'} {claim}", style="green" if holds else "bold red", markup=False)
        if not holds:
            _give_up("this should have been otherwise")

    def _run(self, words: Iterable[str], stdin: str, status: int) -> str:
        out = io.StringIO()
        before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin.encode()))
        try:
            # What commands tell the person beside them belongs to the story as well.
            with redirect_stdout(out), redirect_stderr(out):
                ended = run(list(words))
        finally:
            sys.stdin = before
        if ended == 130:
            raise KeyboardInterrupt
        if ended != status:
            sys.stdout.write(out.getvalue())
            _give_up(f"a command ended with {ended} instead of {status}")
        return out.getvalue()


def _import(story: Story) -> None:
    story.chapter("1  Take in what happened")
    story.say("A tenant says which words may stand in the clear; every other text is sealed.")
    story.show("tenant", "add", "acme", "--vocabulary", str(WORDS))
    story.show("import", str(DESK))
    story.say("Once more: nothing is stored twice.")
    story.show("import", str(DESK), "--json")


def _look(story: Story) -> None:
    story.chapter("2  Look at it")
    story.say("Lists count and compare without a name. The read models behind them have no keys.")
    story.show("query", "tickets", "--limit", "6")
    story.say("With a reason, and an access line that stays, some of it is revealed.")
    story.show("query", "contacts", "--limit", "4", "--reveal", "--why", "showing the demo")


def _remember(story: Story) -> dict[str, Any]:
    reports = story.ask("query", "reports")
    story.say(f"The reports count {reports['tickets']['total']} tickets, by status: {reports['tickets']['by_status']}.")
    return {"reports": reports, "tickets": story.ask("query", "tickets")}


def _forget(story: Story) -> Path:
    story.chapter("3  Somebody asks to be forgotten")
    story.say("Who is it? The address comes from standard input, so that nobody sees it in a list of processes.")
    story.show("find", "-", stdin=ADDRESS)
    story.say("What would go, and what would change for others?")
    shred = ("shred", "contact", "--email", "-", "--ground", "art17-1-a")
    story.show(*shred, "--dry-run", stdin=ADDRESS)
    certificate = story.folder / "certificate.json"
    story.show(*shred, "--yes", "--living", "--out", str(certificate), stdin=ADDRESS)
    story.say("Texts of other people still say his name, and the certificate admits it.")
    return certificate


def _compare(story: Story, before: dict[str, Any]) -> None:
    story.chapter("4  What is left")
    story.show("query", "tickets", "--all", "--limit", "6")
    after = story.ask("query", "tickets")
    changed = sum(one != other for one, other in zip(before["tickets"], after, strict=True))
    story.check(f"{changed} tickets read otherwise than before, all others are the same", 0 < changed < len(after))
    story.check("every report is the same", story.ask("query", "reports") == before["reports"])
    story.show("query", "erasures", "--json")
    story.show("rebuild", "all")
    story.check("built anew from the log, the list of tickets is the same", story.ask("query", "tickets") == after)


def _come_late(story: Story) -> None:
    story.chapter("5  Late records about him")
    late = story.folder / "late.jsonl"
    late.write_text(
        _event("late-1", "ticket.replied", "ticket 4", {"ticket_id": 4, "body_text": "It is me again.", "user_id": 205})
        + _event("late-2", "contact.updated", "contact 205", {"phone": "+49 40 5550999"})
        + _event("late-3", "ticket.opened", "ticket 90", {"id": 90, "email": ADDRESS, "subject": "Hello?"})
    )
    story.say("A reply, an update of the contact, a new ticket by the same address: refused, counted, nowhere kept.")
    tally = json.loads(story.show("import", str(late), "--json"))
    story.check("all three are refused", tally["refused"] == tally["read"] == 3)


def _prove(story: Story, certificate: Path) -> None:
    story.chapter("6  Prove it")
    key = story.folder / "signing" / "certificate.pub"
    story.show("certificate", "verify", str(certificate), "--key", str(key))
    forged = story.folder / "forged.json"
    said = json.loads(certificate.read_text())
    said["counts"]["facts"] += 1
    forged.write_text(json.dumps(said))
    story.say("With one number changed, it is no certificate any more.")
    story.show("certificate", "verify", str(forged), "--key", str(key), status=1)
    story.show("verify")


def _stream(story: Story) -> None:
    story.chapter("7  The same through Kafka")
    records = story.folder / "records.jsonl"
    copied = {"id": 91, "requester_id": 207, "subject": "Key lost", "cc_emails": [ADDRESS]}
    records.write_text(DESK.read_text() + _event("new-1", "ticket.opened", "ticket 91", copied))
    story.say("One ticket is new. It is Bashir's, and has the forgotten person in copy: only that part is left out.")
    story.show("publish", str(records), "--json")
    tally = json.loads(story.show("consume", "--until-idle", "--json"))
    story.check("one record is new, those about him are refused", tally["stored"] == 1 and tally["refused"] > 0)
    [ticket] = story.ask("query", "tickets", "--ticket", "91")
    story.check("the new ticket has nobody in copy", ticket["copied"] == [])


def _search_at_rest(story: Story) -> None:
    story.chapter("8  The disk")
    story.say("Every byte of the data folder is searched for the names and addresses that came in.")
    values = sorted(_values())
    contents = [path.read_bytes() for path in (story.folder / "data").rglob("*") if path.is_file()]
    found = sum(any(value.encode() in content for content in contents) for value in values)
    story.check(f"{len(values)} values, {len(contents)} files: {found} found", found == 0)
    control = any(b"Workshop" in content for content in contents)
    story.check("a word of the tenant's vocabulary, searched for in the same way, is found", control)


def _values() -> Iterator[str]:
    for line in DESK.read_text().splitlines():
        try:
            said = json.loads(line)["data"]
        except (json.JSONDecodeError, KeyError):
            continue
        yield from {said[name] for name in ("name", "email", "phone") if said.get(name)}


def _event(id_: str, type_: str, subject: str, data: dict[str, Any]) -> str:
    event = {"specversion": "1.0", "id": id_, "source": "https://acme.example.org/helpdesk", "tenant": "acme"}
    event |= {"type": f"sealdesk.{type_}.v1", "subject": subject, "time": "2024-04-02T08:00:00Z"}
    return json.dumps(event | {"data": data}) + "\n"


@contextmanager
def _settings(folder: Path) -> Iterator[Settings]:
    """Keep the demo away from whatever this account has set up, and give back its environment afterwards."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("SEALDESK_")]:
        del os.environ[name]
    os.environ |= {f"SEALDESK_{name.upper()}": str(folder / name) for name in ("data", "roots", "ledger", "signing")}
    try:
        yield Settings.read()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _give_up(why: str) -> NoReturn:
    sys.exit(f"The demo ends here: {why}.")


if __name__ == "__main__":
    main()
