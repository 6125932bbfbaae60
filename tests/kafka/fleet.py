"""Processes of sealdesk as an operator runs them: started, killed, started again when they end by themselves."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from services.embedded import Endpoints
from tests.kafka.cluster import Cluster

SEALDESK = (sys.executable, "-c", "from services.cli.app import main; main()")
#: What a command ends with when a server cannot be reached.
UNREACHABLE = 5
#: SIGTERM within a batch lets it finish first.
END_SECONDS = 60


@dataclass
class Member:
    """One process, and what it said."""

    words: tuple[str, ...]
    process: subprocess.Popen[bytes]
    said: Path


@dataclass
class Fleet:
    """Some processes with one environment."""

    environment: Mapping[str, str]
    folder: Path
    members: list[Member] = field(default_factory=list)
    #: What those said last that found a server away when they started.
    fallen: list[str] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    def start(self, *words: str) -> Member:
        """Start a command."""
        member = Member(words, *self._spawn(words))
        self.members.append(member)
        return member

    def _spawn(self, words: Sequence[str]) -> tuple[subprocess.Popen[bytes], Path]:
        said = self.folder / f"{next(self._numbers)}-{words[0]}.txt"
        with said.open("wb") as output:
            environ = {**os.environ, **self.environment}
            command = [*SEALDESK, *words]
            return subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output), said

    def run(self, *words: str) -> str:
        """Run a command to its end, which has to be good."""
        done = self.tried(*words)
        assert done.returncode == 0, (words, done.stderr.decode()[-2000:])
        return done.stdout.decode()

    def tried(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command to whatever end."""
        environ = {**os.environ, **self.environment}
        return subprocess.run([*SEALDESK, *words], env=environ, capture_output=True, timeout=600, check=False)

    def kill_one_of(self, rng: random.Random, command: str, *, but: Member | None = None) -> None:
        """End one by SIGKILL, and start another in its place."""
        victim = rng.choice([member for member in self.members if member.words[0] == command and member is not but])
        victim.process.kill()
        victim.process.wait()
        victim.process, victim.said = self._spawn(victim.words)

    def end(self, *members: Member) -> None:
        """Ask processes to end, all at once, which they have to do well."""
        for member in members:
            self.members.remove(member)
            member.process.send_signal(signal.SIGTERM)
        for member in members:
            status = member.process.wait(timeout=END_SECONDS)
            assert status == 0, (member.words, status, _end_of(member.said))

    def tend(self) -> None:
        """Start anew what ended by itself, as it may when a server was away just as it started.

        Raises:
            AssertionError: something ended for another reason.
        """
        for member in self.members:
            if member.process.poll() is not None:
                status, said = member.process.returncode, _end_of(member.said)
                assert status == UNREACHABLE, (member.words, status, said)
                self.fallen.append(f"{' '.join(member.words)}: {said}")
                member.process, member.said = self._spawn(member.words)

    def stop(self) -> None:
        """End whatever runs, as it may be after a failure."""
        for member in self.members:
            member.process.kill()
            member.process.wait()
        self.members.clear()


def _end_of(said: Path) -> str:
    return said.read_text(errors="replace").strip()[-1500:]


def environment(folder: Path, endpoints: Endpoints, cluster: Cluster, topic: str, tenant: str) -> dict[str, str]:
    """Name databases and brokers that are up, and folders of the test's for secrets; let a tenant's records in."""
    admission = folder / "topics.toml"
    admission.write_text(f'[topics."{topic}"]\ntenants = ["{tenant}"]\n')
    return {
        "SEALDESK_LOG_DSN": endpoints.log_dsn,
        "SEALDESK_KEYS_DSN": endpoints.keys_dsn,
        "SEALDESK_KAFKA": cluster.broker.bootstrap,
        "SEALDESK_TOPICS": str(admission),
        "SEALDESK_ACTOR": "tests",
        "SEALDESK_DEBUG": "1",
        # Enough to forget somebody who wrote a lot, and small batches, so that there is much between two of them.
        "SEALDESK_BRAKE": "1000000",
        "SEALDESK_BATCH": "250",
        **{f"SEALDESK_{name.upper()}": str(folder / name) for name in ("roots", "ledger", "signing")},
    }
