"""Who is not let in is told which setting to look at, within seconds."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from domain.errors import BrokerUnavailable, SettingsWrong
from services.kafka.connecting import Broker
from services.kafka.consuming import consume
from tests.kafka import certificates
from tests.kafka.cluster import Cluster
from tests.services.kafka.desk import Desk

PASSWORD = "a good password"


@pytest.fixture
def secured(single: Cluster) -> Broker:
    single.add_user("crm", PASSWORD)
    return single.secured("crm", PASSWORD)


def said(broker: Broker, topic: str) -> str:
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable) as refused:
        list(consume(broker, Desk(), Desk(), topics=[topic], group="secured", until_idle=True))
    assert time.monotonic() - began < 20
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


def test_right_credentials_and_rights_are_let_in(single: Cluster, secured: Broker) -> None:
    topic = single.create_topic("secured")
    single.allow("crm", topic=topic, group="secured")
    batches = list(consume(secured, Desk(), Desk(), topics=[topic], group="secured", until_idle=True))
    assert [record for batch in batches for record in batch.records] == []


WRONG: dict[str, tuple[Callable[[Broker, Cluster, Path], Broker], str]] = {
    "password": (lambda ours, single, _: single.secured("crm", "another"), "SEALDESK_KAFKA_PASSWORD_FILE"),
    "user": (lambda ours, single, _: single.secured("nobody", PASSWORD), "SEALDESK_KAFKA_USER"),
    "mechanism": (lambda ours, *_: replace(ours, mechanism="SCRAM-SHA-256"), "SEALDESK_KAFKA_MECHANISM"),
    "authority": (lambda ours, _, folder: replace(ours, ca=certificates.make(folder).ca), "SEALDESK_KAFKA_CA"),
    "no authority": (lambda ours, *_: replace(ours, ca=None), "SEALDESK_KAFKA_CA"),
    "TLS where there is none": (lambda ours, single, _: replace(ours, bootstrap=single.broker.bootstrap), "_KAFKA_TLS"),
    "no TLS where there is": (lambda ours, *_: Broker(bootstrap=ours.bootstrap), "SEALDESK_KAFKA_TLS"),
    "no TLS, but a user": (lambda ours, *_: replace(ours, tls=False, ca=None), "SEALDESK_KAFKA_TLS"),
    "no user where one is asked": (lambda ours, *_: replace(ours, user=None), "SEALDESK_KAFKA_USER"),
    "a user where none is asked": (
        lambda ours, single, _: replace(ours, tls=False, ca=None, bootstrap=single.broker.bootstrap),
        "leave out SEALDESK_KAFKA_USER",
    ),
    "nobody there": (lambda *_: Broker(bootstrap="127.0.0.1:1"), "SEALDESK_KAFKA"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_told_by_the_setting_to_look_at(
    single: Cluster, secured: Broker, tmp_path: Path, what: str
) -> None:
    make, names = WRONG[what]
    assert names in said(make(secured, single, tmp_path), "any")


def test_a_certificate_of_another_host_is_told(
    single: Cluster, secured: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The broker's names are localhost and 127.0.0.1; this context asks for another one.
    class Asking(ssl.SSLContext):
        def wrap_socket(self, *given: object, **named: object) -> ssl.SSLSocket:
            return super().wrap_socket(*given, **(named | {"server_hostname": "broker.example.org"}))  # type: ignore[arg-type]

    context = Asking(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(secured.ca)
    monkeypatch.setattr(Broker, "_context", lambda _: context)

    assert "of another host" in said(secured, "any")


def test_rights_that_are_missing_are_told(single: Cluster, secured: Broker) -> None:
    topic = single.create_topic("forbidden")
    single.add_user("reader", PASSWORD)
    reader = single.secured("reader", PASSWORD)
    assert "may not do this" in said(reader, topic)
    single.allow("reader", topic="another", group="secured")
    assert "may not do this" in said(reader, topic)


def test_files_that_are_none_are_told_before_anybody_is_asked(secured: Broker, tmp_path: Path) -> None:
    for broker, name in [
        (replace(secured, ca=tmp_path / "none"), "SEALDESK_KAFKA_CA"),
        (replace(secured, certificate=secured.password_file), "SEALDESK_KAFKA_CERTIFICATE"),
        (replace(secured, password_file=tmp_path / "none"), "SEALDESK_KAFKA_PASSWORD_FILE"),
    ]:
        with pytest.raises(SettingsWrong, match=name):
            broker.options()
