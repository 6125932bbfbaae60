"""A copy of everything but the HSM's own object opens nothing, once that object is destroyed.

A house keeps its roots in SoftHSM. It is filled and copied whole: data folder with both clusters, the folder of wrapped
roots, ledger, signing key. Then somebody is shredded, the epoch is turned, and the old key destroyed in the HSM.
The copy is a house that opens as long as the HSM has that key, and a heap of bytes afterwards.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.embedded import Endpoints, serving
from services.settings import Settings
from services.wiring import house
from tests import softhsm
from tests.acceptance.adversary import Adversary, Opened
from tests.acceptance.killing import Ran, Warmed
from tests.acceptance.test_cli import event
from tests.conftest import IN_A_HURRY

RECORDS = [
    event("contact.created", "contact 1", id=1, name="Ann Abbott", email="ann@home.org"),
    event("contact.created", "contact 2", id=2, name="Bob Brown", email="bob@work.org"),
    event("ticket.opened", "ticket 20", id=20, requester_id=1, subject="Bell of Ann"),
    event("ticket.opened", "ticket 21", id=21, requester_id=2, subject="Lights of Bob"),
]
ANNS, BOBS = [b"Ann Abbott", b"ann@home.org", b"Bell of Ann"], [b"Bob Brown", b"bob@work.org", b"Lights of Bob"]
_NOT_REACHABLE = 5


@dataclass(frozen=True)
class Machine:
    """A house with all its folders, and a way to type commands there. `tokens` is where its HSM keeps objects."""

    folder: Path
    device: dict[str, str]
    tokens: Path
    warmed: Warmed

    @property
    def environment(self) -> dict[str, str]:
        """Name every folder, and the HSM."""
        configured = self.folder / "softhsm2.conf"
        configured.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        named = {name: str(self.folder / name.lower()) for name in ("ROOTS", "LEDGER", "SIGNING", "DATA")}
        return {
            "SOFTHSM2_CONF": str(configured),
            "SEALDESK_KEEPER": "hsm",
            **self.device,
            **{f"SEALDESK_{name}": path for name, path in named.items()},
        }

    @property
    def settings(self) -> Settings:
        return Settings.read(None, self.environment)

    @contextmanager
    def up(self) -> Iterator[Endpoints]:
        """Keep the servers of this machine running for a while."""
        with serving(self.settings, extra=IN_A_HURRY) as endpoints:
            yield endpoints

    def run(self, *words: str) -> Ran:
        return self.warmed.run(*words, environment=self.environment)

    def done(self, *words: str) -> Ran:
        ran = self.run(*words)
        assert ran.status == 0, ran.err
        return ran

    def json(self, *words: str) -> Any:
        return json.loads(self.done(*words, "--json").out)

    def copied(self, folder: Path, *, tokens: Path | None = None) -> Machine:
        """Copy the house, with all that lies on its disks, to another machine, with an HSM."""
        # As a backup does, with whose the files are: a server may run under another account than the test.
        subprocess.run(["cp", "-a", self.folder, folder], check=True)
        return Machine(folder, self.device, tokens or self.tokens, self.warmed)


@pytest.fixture
def machine(token: tuple[Path, Path], tmp_path: Path) -> Iterator[Machine]:
    module, pin = token
    names = {"MODULE": str(module), "TOKEN": softhsm.TOKEN, "PIN_FILE": str(pin)}
    said = tmp_path / "said"
    for folder in (said, tmp_path / "house"):
        folder.mkdir()
    warmed = Warmed({}, said)
    device = {f"SEALDESK_HSM_{name}": value for name, value in names.items()}
    yield Machine(tmp_path / "house", device, pin.parent / "tokens", warmed)
    warmed.end()


def _shows(machine: Machine) -> str:
    with machine.up():
        return "".join(machine.done("query", what, "--reveal", "--why", "test").out for what in ("contacts", "tickets"))


def _opens(machine: Machine, adversary: Adversary) -> Opened:
    """Open what opens with every root and secret that the HSM still unwraps, of all that were ever copied."""
    living = []
    with machine.up() as endpoints, house(machine.settings, endpoints) as opened:
        roots: Any = opened.roots
        living += [roots.open(epoch).material for epoch in roots.epochs()]
        living += [roots.secret(name, create=False).material for name in roots.secrets()]
    return adversary.opens(living)


@pytest.mark.slow
def test_a_copy_of_everything_but_the_object_in_the_hsm_opens_nothing(machine: Machine, tmp_path: Path) -> None:
    records, tokens = tmp_path / "records.jsonl", tmp_path / "tokens-of-before"
    records.write_bytes(b"".join(RECORDS))
    with machine.up() as endpoints:
        machine.done("import", str(records))
        adversary = Adversary(endpoints)
        adversary.copy()
    thief = machine.copied(tmp_path / "stolen")
    shutil.copytree(machine.tokens, tokens)
    assert not any(word in _bytes(machine.folder) for word in (*ANNS, *BOBS))

    # The control: with the HSM, the copy is a house that opens.
    shown = _shows(thief.copied(tmp_path / "control"))
    assert all(word.decode() in shown for word in (*ANNS, *BOBS))

    # Shredded, turned, and in the end the old epoch is destroyed in the HSM.
    with machine.up():
        certificate = machine.json("shred", "contact", "--ref", "1", "--ground", "art17-1-a", "--yes")
        assert "in an HSM that cannot be read out" in certificate["meaning_of_destruction"]
        assert machine.json("keys", "turn")["destroyed"] == []
    assert all(word in _opens(machine, adversary).text() for word in (*ANNS, *BOBS)), "the grace is not over"
    with machine.up():
        assert _standing(machine, certificate)["unrecoverable_since"] is None
        assert machine.json("keys", "turn", "--grace", "0")["destroyed"] == [1, 2]
        assert _standing(machine, certificate)["unrecoverable_since"] is not None
        adversary.copy()

    # The copy of before opens nothing, with the HSM or with a copy of all that it stores now.
    stored = tmp_path / "tokens-of-now"
    shutil.copytree(machine.tokens, stored)
    for name, tokens_of_now in (("with-the-hsm", machine.tokens), ("with-its-store", stored)):
        copy = thief.copied(tmp_path / name, tokens=tokens_of_now)
        with copy.up():
            for words in (("query", "contacts", "--reveal", "--why", "test"), ("keys", "turn"), ("verify",)):
                ended = copy.run(*words)
                assert (ended.status, ended.out) == (_NOT_REACHABLE, ""), words
                assert "the HSM has no key" in ended.err
    # It is that one object: a copy of it from before would open all, which is what an HSM does not give.
    shown = _shows(thief.copied(tmp_path / "with-the-object", tokens=tokens))
    assert all(word.decode() in shown for word in ANNS)

    # Row by row: whatever was ever wrapped, with every root and secret that the HSM still unwraps.
    opened = _opens(machine, adversary).text()
    assert all(word in opened for word in BOBS)
    assert not any(word in opened for word in ANNS)
    shown = _shows(machine)
    assert all(word.decode() in shown for word in BOBS)
    assert not any(word.decode() in shown for word in ANNS)


def _standing(machine: Machine, certificate: dict[str, Any]) -> dict[str, Any]:
    standing: dict[str, Any] = json.loads(machine.done("certificate", "show", certificate["certificate_id"]).out)
    return standing


def _bytes(folder: Path) -> bytes:
    """Read all files below a folder."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
