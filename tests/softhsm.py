"""SoftHSM 2 for tests: the distribution's packages, unpacked into a cache where they are not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "softhsm"
INSTALLED = Path("/usr")
LIBRARY, UTILITY = Path("lib/softhsm/libsofthsm2.so"), Path("bin/softhsm2-util")
PACKAGES = ["libsofthsm2", "softhsm2"]
PIN, SO_PIN, TOKEN = "824917", "117428", "sealdesk-test"


def found() -> Path:
    """Find the folder above library and utility, after fetching the packages if they are nowhere.

    Raises:
        RuntimeError: they are nowhere, and there is no way to fetch them; the message says what was tried.
    """
    for folder in (INSTALLED, CACHE / "usr"):
        if (folder / LIBRARY).exists() and (folder / UTILITY).exists():
            return folder
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise RuntimeError(f"{PACKAGES} are not installed, and there is no apt-get to fetch them with")
    CACHE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as draft:
        subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=draft, check=True, capture_output=True)
        for package in Path(draft).glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, Path(draft) / "x"], check=True, capture_output=True)
        shutil.rmtree(CACHE, ignore_errors=True)
        (Path(draft) / "x").rename(CACHE)
    return CACHE / "usr"


def prepare(folder: Path) -> tuple[Path, Path]:
    """Make a token for this process in a folder, before PKCS #11 is first used.

    Returns the library, and the private file of the PIN.
    """
    programs, tokens, settings = found(), folder / "tokens", folder / "softhsm2.conf"
    tokens.mkdir(mode=0o700)
    settings.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(settings)
    made = [programs / UTILITY, "--module", programs / LIBRARY, "--init-token", "--free", "--label", TOKEN]
    subprocess.run([*made, "--pin", PIN, "--so-pin", SO_PIN], check=True, capture_output=True)
    pin = folder / "pin"
    pin.write_text(PIN)
    pin.chmod(0o600)
    return programs / LIBRARY, pin
