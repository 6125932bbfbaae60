"""What every place for roots promises: files, an HSM (SoftHSM 2), AWS KMS (moto's server), a move between two."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from moto.server import ThreadedMotoServer

from crypto.hsm import Pkcs11Keeper
from crypto.keepers import KeptRoots, MovingRoots
from crypto.kms import PENDING_DAYS, KmsKeeper
from crypto.roots import FileRoots, Roots
from domain.errors import KeyExpired, KeysUnavailable, NobodyCanAct
from tests import softhsm

Make = Callable[[Path], Roots]


@pytest.fixture(scope="session")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }.items():
            patch.setenv(name, value)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def hsm(token: tuple[Path, Path]) -> Pkcs11Keeper:
    module, pin = token
    return Pkcs11Keeper(module=module, token=softhsm.TOKEN, pin_file=pin)


@pytest.fixture(params=["files", "hsm", "kms", "moving"])
def make(request: pytest.FixtureRequest) -> Make:
    match request.param:
        case "files":
            return FileRoots
        case "hsm":
            keeper = request.getfixturevalue("hsm")
            return lambda folder: KeptRoots(folder, keeper)
        case "kms":
            kms = KmsKeeper(request.getfixturevalue("aws"))
            return lambda folder: KeptRoots(folder, kms)
        case _:
            device = request.getfixturevalue("hsm")

            def moving(folder: Path) -> Roots:
                return MovingRoots(FileRoots(folder / "before"), KeptRoots(folder / "after", device))

            return moving


@pytest.fixture
def roots(make: Make, tmp_path: Path) -> Roots:
    return make(tmp_path / "roots")


def test_the_first_use_makes_the_first_epoch_and_every_later_one_finds_it(make: Make, tmp_path: Path) -> None:
    first, second = make(tmp_path / "roots"), make(tmp_path / "roots")
    assert first.current() == second.current() == 1
    assert first.open(1).material == second.open(1).material


def test_a_turn_makes_the_next_epoch_and_twice_makes_one(roots: Roots) -> None:
    epoch = roots.current()
    assert roots.turn(epoch) == roots.turn(epoch) == epoch + 1 == roots.current()
    assert roots.open(epoch).material != roots.open(epoch + 1).material


def test_a_root_that_was_destroyed_does_not_open_and_the_others_do(make: Make, tmp_path: Path) -> None:
    roots = make(tmp_path / "roots")
    kept = roots.open(roots.turn(roots.current())).material
    effective = roots.destroy(1)
    assert effective.tzinfo is not None
    assert roots.destroy(1) <= effective + timedelta(minutes=1), "twice destroys one"
    for again in (roots, make(tmp_path / "roots")):
        with pytest.raises(KeysUnavailable):
            again.open(1)
        assert again.open(2).material == kept
        assert again.current() == 2


def test_the_current_root_is_not_destroyed(roots: Roots) -> None:
    roots.current()
    with pytest.raises(NobodyCanAct):
        roots.destroy(1)
    assert roots.open(1)


def test_an_epoch_that_never_was_does_not_open(roots: Roots) -> None:
    roots.current()
    with pytest.raises(KeysUnavailable):
        roots.open(7)


def test_a_secret_outlives_epochs(make: Make, tmp_path: Path) -> None:
    roots = make(tmp_path / "roots")
    roots.current()
    secret = roots.secret("ledger-2026-Q4").material
    roots.turn(1)
    roots.destroy(1)
    assert make(tmp_path / "roots").secret("ledger-2026-Q4", create=False).material == secret
    assert roots.secret("another").material != secret
    with pytest.raises(KeysUnavailable):
        roots.secret("never-made", create=False)


def test_a_new_place_that_is_down_leaves_no_secret_behind_in_the_old_one(tmp_path: Path, aws: str) -> None:
    before = FileRoots(tmp_path / "before")
    before.secret("ledger-2026-Q3")
    down = MovingRoots(before, KeptRoots(tmp_path / "after", KmsKeeper("http://127.0.0.1:1")))
    for name in ("ledger-2026-Q3", "ledger-2026-Q4"):
        with pytest.raises(KeysUnavailable):
            down.secret(name)
    assert before.secrets() == ["ledger-2026-Q3"]

    up = MovingRoots(before, KeptRoots(tmp_path / "after", KmsKeeper(aws)))
    made = up.secret("ledger-2026-Q4").material
    assert before.secret("ledger-2026-Q4", create=False).material == made, "who does not know of the move finds it, too"
    assert up.after.secret("ledger-2026-Q4", create=False).material == made


def test_many_at_once_end_with_one_root_and_one_secret(make: Make, tmp_path: Path) -> None:
    found: list[bytes] = []

    def ask() -> None:
        roots = make(tmp_path / "roots")
        found.append(roots.open(roots.turn(roots.current()) and 2).material + roots.secret("one").material)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1


def test_a_keeper_says_what_its_destruction_means(roots: Roots) -> None:
    said = roots.meaning_of_destruction()
    assert "beyond recovery" in said
    assert said.endswith(".")


# -- what is particular ---------------------------------------------------------------------------------------------


def test_without_the_object_in_the_hsm_a_copy_of_everything_else_opens_nothing(
    hsm: Pkcs11Keeper, tmp_path: Path
) -> None:
    roots = KeptRoots(tmp_path / "roots", hsm)
    roots.current()
    root = roots.open(1).material
    copy = {path: path.read_bytes() for path in (tmp_path / "roots").rglob("*") if path.is_file()}
    assert not any(root in content or root.hex().encode() in content for content in copy.values())
    roots.turn(1)
    roots.destroy(1)
    for path, content in copy.items():
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(KeysUnavailable):
        roots.open(1)


def test_a_root_does_not_open_as_that_of_another_epoch(hsm: Pkcs11Keeper, aws: str, tmp_path: Path) -> None:
    for number, keeper in enumerate((hsm, KmsKeeper(aws))):
        roots = KeptRoots(tmp_path / str(number), keeper)
        roots.turn(roots.current())
        files = tmp_path / str(number) / "epochs"
        (files / "000002.wrapped").write_bytes((files / "000001.wrapped").read_bytes())
        with pytest.raises(KeysUnavailable):
            roots.open(2)


def test_a_wrong_pin_names_the_setting_and_not_the_pin(token: tuple[Path, Path], tmp_path: Path) -> None:
    wrong = tmp_path / "pin"
    wrong.write_text("000000")
    with pytest.raises(KeysUnavailable, match="_PIN_FILE") as error:
        Pkcs11Keeper(module=token[0], token=softhsm.TOKEN, pin_file=wrong).make("x")
    assert "000000" not in str(error.value)


def test_kms_deletes_late_and_says_when(aws: str, tmp_path: Path) -> None:
    roots = KeptRoots(tmp_path / "roots", KmsKeeper(aws))
    roots.turn(roots.current())
    effective = roots.destroy(1)
    assert abs(effective - datetime.now(UTC) - timedelta(days=PENDING_DAYS)) < timedelta(hours=1)
    assert roots.destroy(1) == effective


def test_imported_material_is_deleted_at_once(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto knows neither how to import material nor how to delete it, so these three calls are played here."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=4096)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    calls: list[tuple[str, dict[str, Any]]] = []
    real = KmsKeeper._client

    def client(self: KmsKeeper) -> Any:
        kms: Any = real(self)
        kms.get_parameters_for_import = lambda **given: {"PublicKey": public, "ImportToken": b"token"}
        kms.import_key_material = lambda **given: calls.append(("import", given))
        kms.delete_imported_key_material = lambda **given: calls.append(("delete", given))
        return kms

    monkeypatch.setattr(KmsKeeper, "_client", client)
    keeper = KmsKeeper(aws, imported=True)
    keeper.make("sealdesk/x/epoch-1")
    before = datetime.now(UTC)
    assert before <= keeper.destroy("sealdesk/x/epoch-1") <= datetime.now(UTC)

    [(_, imported), (_, deleted)] = calls
    assert imported["KeyId"] == deleted["KeyId"]
    assert imported["ImportToken"] == b"token"
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label=None)
    assert len(private.decrypt(imported["EncryptedKeyMaterial"], oaep)) == 32


def test_a_secret_that_had_its_time_is_told_from_one_that_is_missing_and_never_made_again(
    make: Make, tmp_path: Path
) -> None:
    roots = make(tmp_path / "roots")
    roots.secret("ledger-2025-Q1")
    kept = roots.secret("ledger-2026-Q4").material
    for _ in range(2):
        assert roots.expire("ledger-2025-Q1").tzinfo is not None
    for again in (roots, make(tmp_path / "roots")):
        assert again.secrets() == ["ledger-2026-Q4"]
        for create in (False, True):
            with pytest.raises(KeyExpired):
                again.secret("ledger-2025-Q1", create=create)
        with pytest.raises(KeysUnavailable) as missing:
            again.secret("ledger-2025-Q2", create=False)
        assert not isinstance(missing.value, KeyExpired)
        assert again.secret("ledger-2026-Q4", create=False).material == kept


def test_a_copy_of_a_secret_that_had_its_time_comes_back_in_vain(make: Make, tmp_path: Path) -> None:
    roots = make(tmp_path / "roots")
    roots.secret("ledger-2025-Q1")
    copies = {path: path.read_bytes() for path in tmp_path.rglob("ledger-2025-Q1.*")}
    assert copies
    roots.expire("ledger-2025-Q1")
    for path, content in copies.items():
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(KeyExpired):
        roots.secret("ledger-2025-Q1", create=False)
    assert roots.secrets() == ["ledger-2025-Q1"]
    roots.expire("ledger-2025-Q1")
    assert roots.secrets() == []


def test_an_hsm_destroys_its_own_key_of_a_secret_that_had_its_time(hsm: Pkcs11Keeper, tmp_path: Path) -> None:
    """So a copy of the whole folder, from before and with no mark, opens nothing."""
    roots = KeptRoots(tmp_path / "roots", hsm)
    roots.secret("ledger-2025-Q1")
    other = roots.secret("ledger-2026-Q4").material
    shutil.copytree(tmp_path / "roots", tmp_path / "copy")
    roots.expire("ledger-2025-Q1")
    copy = KeptRoots(tmp_path / "copy", hsm)
    with pytest.raises(KeysUnavailable):
        copy.secret("ledger-2025-Q1", create=False)
    assert copy.secret("ledger-2026-Q4", create=False).material == other


def test_kms_destroys_its_own_key_of_a_secret_that_had_its_time_after_the_waiting_period(
    aws: str, tmp_path: Path
) -> None:
    roots = KeptRoots(tmp_path / "roots", KmsKeeper(aws))
    roots.secret("ledger-2025-Q1")
    roots.secret("ledger-2026-Q4")
    wanted = datetime.now(UTC) + timedelta(days=PENDING_DAYS)
    assert abs(roots.expire("ledger-2025-Q1") - wanted) < timedelta(minutes=1)
    # moto's server still decrypts under a key that waits for its deletion, which KMS does not.
    kms, house = boto3.client("kms", endpoint_url=aws), (tmp_path / "roots" / "house").read_text()
    states = {
        name: kms.describe_key(KeyId=f"alias/sealdesk/{house}/secret-{name}")["KeyMetadata"]["KeyState"]
        for name in ("ledger-2025-Q1", "ledger-2026-Q4")
    }
    assert states == {"ledger-2025-Q1": "PendingDeletion", "ledger-2026-Q4": "Enabled"}


def test_that_secrets_had_their_time_moves_along(hsm: Pkcs11Keeper, tmp_path: Path) -> None:
    before, after = FileRoots(tmp_path / "before"), KeptRoots(tmp_path / "after", hsm)
    before.current()
    for name in ("ledger-2025-Q1", "ledger-2026-Q4"):
        before.secret(name)
    before.expire("ledger-2025-Q1")
    moving = MovingRoots(before, after)
    moving.turn(moving.current())
    moving.destroy(1)
    assert moving.leave()
    assert (after.secrets(), after.expired(), before.secrets()) == (["ledger-2026-Q4"], ["ledger-2025-Q1"], [])
    with pytest.raises(KeyExpired):
        after.secret("ledger-2025-Q1")


def test_a_secret_that_stood_under_the_common_key_of_the_device_opens_as_ever(
    hsm: Pkcs11Keeper, tmp_path: Path
) -> None:
    roots = KeptRoots(tmp_path / "roots", hsm)
    made = roots.secret("ledger-2026-Q4").material
    [file] = (tmp_path / "roots" / "secrets").glob("*.wrapped")
    house = (tmp_path / "roots" / "house").read_text()
    hsm.make(f"sealdesk/{house}/secrets")
    file.write_bytes(hsm.wrap(f"sealdesk/{house}/secrets", made))
    assert roots.secret("ledger-2026-Q4", create=False).material == made
    roots.expire("ledger-2026-Q4")
    assert not file.exists()
