"""compose.yaml without an engine: its services as processes, with its commands and its environment.

What an engine would do is done by hand and checked on the way: a host that a service names has to be on one of its
networks, a secret, config or folder has to be mounted there. Hosts become servers on loopback.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from services.embedded import Endpoints

ROOT = Path(__file__).parents[1]
COMPOSED: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSED["services"]
#: What runs our image.
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("sealdesk")]
START_SECONDS = 90
END_SECONDS = 60


@dataclass
class Running:
    """One service that was started."""

    name: str
    process: subprocess.Popen[bytes]
    said: Path
    environment: Mapping[str, str]
    port: int | None

    def ask(self, path: str) -> tuple[int, str]:
        """Ask it over HTTP; status 0 while it does not listen."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metrics(self) -> dict[str, float]:
        """Scrape it: every sample by its name and labels, as Prometheus writes them."""
        status, body = self.ask("/metrics")
        assert status == 200
        return {
            sample.name + "".join(f"[{value}]" for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }

    def told(self) -> set[str]:
        """List the metrics that it tells, by the names under which they are asked for."""
        families = text_string_to_metric_families(self.ask("/metrics")[1])
        return {
            f"{family.name}_total" if family.type == "counter" else family.name
            for family in families
            if family.name.startswith("sealdesk_") and not family.name.endswith("_created")
        }

    def check(self) -> int:
        """Run the health check of the compose file. Returns its exit status."""
        [kind, program, *words] = SERVICES[self.name]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "python")
        words = [word.replace(":9464/", f":{self.port}/") for word in words]
        return subprocess.run([sys.executable, *words], capture_output=True, timeout=60, check=False).returncode


class Composed:
    """The services of compose.yaml over servers that run already."""

    def __init__(self, folder: Path, databases: Endpoints, bootstrap: str) -> None:
        self.folder = folder
        self._databases = {"log-db": databases.log_dsn, "keys-db": databases.keys_dsn}
        self._bootstrap = bootstrap
        self.running: list[Running] = []
        for secret in COMPOSED["secrets"]:
            self._path("secrets", secret).parent.mkdir(exist_ok=True)
            self._path("secrets", secret).write_text("not asked for on a socket\n")
        # What our services read of a file of the image names the files of the image.
        self._logins = self.folder / "logins.toml"
        said = (ROOT / COMPOSED["configs"]["logins"]["file"]).read_text()
        self._logins.write_text(said.replace("/run/secrets/", f"{self.folder}/secrets/"))
        for volume in COMPOSED["volumes"]:
            self._path("volumes", volume).mkdir(mode=0o700, parents=True)

    def volume(self, name: str) -> Path:
        """Where a volume lies."""
        return self._path("volumes", name)

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / name

    # -- as an engine would ------------------------------------------------------------------------------------

    def environment(self, name: str) -> tuple[dict[str, str], int | None]:
        """Say what a service finds in its environment, and where it listens."""
        port = None
        found = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        for variable, value in SERVICES[name].get("environment", {}).items():
            if variable.endswith("_DSN"):
                value = self._dsn(name, value)
            elif variable == "SEALDESK_KAFKA":
                self._reaches(name, value.partition(":")[0])
                value = self._bootstrap
            elif variable == "SEALDESK_LISTEN":
                with socket.create_server(("127.0.0.1", 0)) as free:
                    port = free.getsockname()[1]
                value = f"127.0.0.1:{port}"
            elif value.startswith("/"):
                value = str(self._mounted(name, value))
            found[variable] = value
        return found, port

    def _dsn(self, name: str, dsn: str) -> str:
        said = conninfo_to_dict(dsn)
        assert "password" not in said, "a password belongs into a secret"
        host = str(said["host"])
        self._reaches(name, host)
        here = conninfo_to_dict(self._databases[host])
        return make_conninfo(dsn, **{key: here[key] for key in ("host", "port", "dbname") if key in here})

    @staticmethod
    def _reaches(name: str, host: str) -> None:
        assert set(SERVICES[name]["networks"]) & set(SERVICES[host]["networks"]), f"{name} cannot reach {host}"

    def _mounted(self, name: str, path: str) -> Path:
        service = SERVICES[name]
        for secret in service.get("secrets", ()):
            if path == f"/run/secrets/{secret}":
                return self._path("secrets", secret)
        for config in service.get("configs", ()):
            if path == config["target"] and config["source"] == "logins":
                return self._logins
            if path == config["target"]:
                return (ROOT / COMPOSED["configs"][config["source"]]["file"]).resolve()
        for mount in service.get("volumes", ()):
            source, target, *_ = mount.split(":")
            if path == target:
                return self.volume(source)
        raise AssertionError(f"{name}: nothing is mounted at {path}")

    # -- as docker compose is used -----------------------------------------------------------------------------

    def up(self, name: str) -> Running:
        """Start a service."""
        environment, port = self.environment(name)
        said = self.folder / f"{name}-{len(self.running)}.txt"
        with said.open("wb") as output:
            process = subprocess.Popen(
                [*SEALDESK, *SERVICES[name]["command"]],
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.running.append(Running(name, process, said, environment, port))
        return self.running[-1]

    def run(self, name: str, *words: str, stdin: bytes = b"") -> str:
        """Run a command in place of that of a service: `docker compose run --rm SERVICE WORDS`."""
        environment, _ = self.environment(name)
        environment.pop("SEALDESK_LISTEN", None)
        said = words or [str(self._mounted(name, w)) if w.startswith("/") else w for w in SERVICES[name]["command"]]
        ended = subprocess.run(
            [*SEALDESK, *said],
            cwd="/",
            env=environment,
            input=stdin,
            capture_output=True,
            timeout=START_SECONDS,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr.decode()
        return ended.stdout.decode()

    def set_up(self) -> None:
        """Do what has to have ended before anything else starts."""
        for name in ("migrate", "logins"):
            self.run(name)

    def tickets(self) -> list[dict[str, Any]]:
        """List tickets as an officer would."""
        rows: list[dict[str, Any]] = json.loads(self.run("keep", "query", "tickets", "--json"))
        return rows

    def end(self) -> dict[str, int]:
        """Ask every service to end, and return their exit statuses."""
        for one in self.running:
            one.process.send_signal(signal.SIGTERM)
        ended = {f"{one.name}-{number}": one.process.wait(END_SECONDS) for number, one in enumerate(self.running)}
        self.running.clear()
        return ended

    def kill(self) -> None:
        """End whatever still runs."""
        for one in self.running:
            one.process.kill()
            one.process.wait()


SEALDESK = (sys.executable, "-c", "from services.cli.app import main; main()")


def until(holds: Any, *running: Running) -> None:
    """Wait until something holds, as long as the services run that it hangs from."""
    end = time.monotonic() + START_SECONDS
    while not holds():
        for one in running:
            assert one.process.poll() is None, (one.name, one.process.returncode, one.said.read_text())
        assert time.monotonic() < end, {one.name: (one.said.read_text(), one.ask("/readyz")) for one in running}
        time.sleep(0.1)


def documented() -> set[str]:
    """List the metrics of the table in docs/operating.md."""
    page = (ROOT / "docs/operating.md").read_text()
    return set(re.findall(r"^\| `(sealdesk_\w+)` \|", page, re.MULTILINE))
