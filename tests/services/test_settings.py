from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from domain.errors import SettingsWrong
from services.settings import Settings, keys_dsn_of, listen_of, log_dsn_of

PASSWORD = "dsn-password-a81f"
DSNS = {
    "SEALDESK_LOG_DSN": f"postgresql://desk:{PASSWORD}@log/desk",
    "SEALDESK_KEYS_DSN": f"postgresql://desk:{PASSWORD}@keys/desk",
}


@pytest.fixture(autouse=True)
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "config"


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def secret_folders(tmp_path: Path) -> dict[str, str]:
    return {f"SEALDESK_{name}": str(tmp_path / name) for name in ("ROOTS", "LEDGER", "SIGNING")}


def test_a_data_folder_is_all_that_has_to_be_said(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path / "data", {})
    assert settings.data == tmp_path / "data"
    assert (settings.batch_size, settings.brake, settings.fence_days) == (1000, 1000, 400)
    assert settings.log_dsn is settings.keys_dsn is settings.kafka is None
    assert settings.actor == pwd.getpwuid(os.getuid()).pw_name


def test_folders_are_created_for_nobody_else_to_look_into(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path / "data", {})
    for folder in (tmp_path / "data", settings.roots, settings.ledger, settings.signing):
        assert mode(folder) == 0o700


def test_secrets_lie_in_the_configuration_folder_under_the_id_of_the_data(tmp_path: Path, config_home: Path) -> None:
    settings = Settings.read(tmp_path / "data", {})
    house = config_home / "sealdesk" / (tmp_path / "data" / "id").read_text().strip()
    assert (settings.roots, settings.ledger, settings.signing) == (
        house / "roots",
        house / "ledger",
        house / "signing",
    )


def test_a_data_folder_that_was_moved_finds_its_secrets_again(tmp_path: Path) -> None:
    before = Settings.read(tmp_path / "data", {})
    (tmp_path / "data").rename(tmp_path / "moved")
    assert Settings.read(tmp_path / "moved", {}).roots == before.roots


def test_two_data_folders_never_share_secrets(tmp_path: Path) -> None:
    assert Settings.read(tmp_path / "one", {}).roots != Settings.read(tmp_path / "two", {}).roots


def test_a_damaged_id_is_an_error_and_not_a_new_house(tmp_path: Path) -> None:
    Settings.read(tmp_path / "data", {})
    (tmp_path / "data" / "id").write_text("gone")
    with pytest.raises(SettingsWrong, match="restore it"):
        Settings.read(tmp_path / "data", {})


def test_the_argument_wins_over_the_environment(tmp_path: Path) -> None:
    environ = {"SEALDESK_DATA": str(tmp_path / "environment")}
    assert Settings.read(tmp_path / "argument", environ).data == tmp_path / "argument"
    assert Settings.read(None, environ).data == tmp_path / "environment"


def test_a_relative_data_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.read(Path("data"), {}).data == tmp_path / "data"


def test_nothing_said_is_refused() -> None:
    with pytest.raises(SettingsWrong, match="--data"):
        Settings.read(None, {})


@pytest.mark.parametrize("given", list(DSNS))
def test_one_database_alone_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(SettingsWrong, match="both"):
        Settings.read(tmp_path / "data", {given: DSNS[given]})


def test_without_a_data_folder_every_secret_folder_has_to_be_set(tmp_path: Path) -> None:
    folders = secret_folders(tmp_path)
    settings = Settings.read(None, DSNS | folders)
    assert settings.roots == tmp_path / "ROOTS"
    for variable in folders:
        with pytest.raises(SettingsWrong, match=variable):
            Settings.read(None, {name: value for name, value in (DSNS | folders).items() if name != variable})


@pytest.mark.parametrize("variable", ["SEALDESK_ROOTS", "SEALDESK_LEDGER", "SEALDESK_SIGNING"])
@pytest.mark.parametrize("inside", ["", "deep/er", "../data/again"])
def test_secrets_inside_the_data_folder_are_refused(tmp_path: Path, variable: str, inside: str) -> None:
    with pytest.raises(SettingsWrong, match="inside the data folder"):
        Settings.read(tmp_path / "data", {variable: str(tmp_path / "data" / inside)})


def test_a_link_into_the_data_folder_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").symlink_to(tmp_path / "data")
    with pytest.raises(SettingsWrong, match="inside the data folder"):
        Settings.read(tmp_path / "data", {"SEALDESK_ROOTS": str(tmp_path / "elsewhere" / "roots")})


def test_a_data_folder_around_the_configuration_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsWrong, match="inside the data folder"):
        Settings.read(tmp_path, {})


def test_the_ledger_cannot_share_the_folder_of_the_roots(tmp_path: Path) -> None:
    folders = secret_folders(tmp_path) | {"SEALDESK_LEDGER": str(tmp_path / "ROOTS" / "ledger")}
    with pytest.raises(SettingsWrong, match="SEALDESK_LEDGER lies in SEALDESK_ROOTS"):
        Settings.read(tmp_path / "data", folders)


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "1.5", "²"])
def test_a_batch_size_that_is_no_number_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(SettingsWrong, match="SEALDESK_BATCH"):
        Settings.read(tmp_path / "data", {"SEALDESK_BATCH": wrong})


def test_numbers_and_the_actor_can_be_set(tmp_path: Path) -> None:
    environ = {"SEALDESK_BATCH": "50", "SEALDESK_BRAKE": "0", "SEALDESK_ACTOR": "privacy office"}
    settings = Settings.read(tmp_path / "data", environ)
    assert (settings.batch_size, settings.brake, settings.actor) == (50, 0, "privacy office")


def test_settings_show_no_password(tmp_path: Path) -> None:
    assert PASSWORD not in repr(Settings.read(tmp_path / "data", DSNS))


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:9464", ("0.0.0.0", 9464)),
        ("[::1]:9464", ("::1", 9464)),
        ("", None),
    ],
)
def test_a_port_alone_is_on_loopback(said: str, address: tuple[str, int] | None) -> None:
    assert listen_of({"SEALDESK_LISTEN": said}) == address


@pytest.mark.parametrize("said", ["localhost", "localhost:http", "9464:", ":65536", "host:-1"])
def test_an_address_without_a_port_is_refused_by_its_name(said: str) -> None:
    with pytest.raises(SettingsWrong, match="SEALDESK_LISTEN"):
        listen_of({"SEALDESK_LISTEN": said})


def test_the_password_of_a_database_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("p w'\\d\n")
    (tmp_path / "keys").write_text("other\n")
    settings = Settings.read(
        None,
        {
            "SEALDESK_LOG_DSN": "host=log dbname=desk",
            "SEALDESK_LOG_PASSWORD_FILE": str(tmp_path / "log"),
            "SEALDESK_KEYS_DSN": "postgresql://desk@keys/desk",
            "SEALDESK_KEYS_PASSWORD_FILE": str(tmp_path / "keys"),
            **secret_folders(tmp_path),
        },
    )
    assert conninfo_to_dict(settings.log_dsn or "")["password"] == "p w'\\d"
    assert conninfo_to_dict(settings.keys_dsn or "") == {
        "host": "keys",
        "dbname": "desk",
        "user": "desk",
        "password": "other",
    }
    assert "other" not in repr(settings)


def test_a_password_file_that_helps_nobody_is_refused_and_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "password"
    with pytest.raises(SettingsWrong, match="SEALDESK_LOG_DSN"):
        log_dsn_of({"SEALDESK_LOG_PASSWORD_FILE": str(file)})
    with pytest.raises(SettingsWrong, match="SEALDESK_LOG_PASSWORD_FILE"):
        log_dsn_of({"SEALDESK_LOG_PASSWORD_FILE": str(file), "SEALDESK_LOG_DSN": "host=log"})
    file.write_text(PASSWORD)
    with pytest.raises(SettingsWrong, match="SEALDESK_LOG_DSN") as refused:
        log_dsn_of({"SEALDESK_LOG_PASSWORD_FILE": str(file), "SEALDESK_LOG_DSN": f"secret {PASSWORD}"})
    assert PASSWORD not in str(refused.value)
    assert refused.value.__suppress_context__
    with pytest.raises(SettingsWrong, match="SEALDESK_KEYS_DSN") as refused:
        keys_dsn_of({"SEALDESK_KEYS_DSN": f"host=keys dbnam={PASSWORD}"})
    assert PASSWORD not in str(refused.value)
