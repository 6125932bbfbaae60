"""Where the brokers are, how to get in, and what to look at when they refuse.

Every client of kafka-python is made here. It is given TLS and SASL by the settings, and an error of it is told as the
setting to look at: never as what it was given.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kafka.errors import (
    AuthorizationError,
    KafkaError,
    SaslAuthenticationFailedError,
)
from kafka.net.compat import KafkaNetClient

from domain.errors import BrokerUnavailable, SettingsWrong

#: RFC 5802 and RFC 7677. PLAIN shows the password to whoever ends the TLS connection, so it is not offered.
Mechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Broker:
    """Brokers, and how to get in.

    `bootstrap` is `host:port,host:port`. With `tls` the brokers have to show a certificate of their host name, signed
    by one of `ca` (a PEM file; the machine's own authorities without it). `certificate` and `key` (PEM files) are
    shown to brokers that ask who we are. With `user` we log in by SCRAM; the password stands in a file.
    """

    bootstrap: str
    tls: bool = False
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str | None = None
    password_file: Path | None = field(default=None, repr=False)
    mechanism: Mechanism = "SCRAM-SHA-512"

    def options(self) -> dict[str, Any]:
        """Say the same in the words of kafka-python.

        Raises:
            SettingsWrong: the file of the password cannot be read, or is empty.
        """
        protocol = ("SASL_" if self.user else "") + ("SSL" if self.tls else "PLAINTEXT")
        given: dict[str, Any] = {"bootstrap_servers": self.bootstrap.split(","), "security_protocol": protocol}
        if self.tls:
            files = {"ssl_cafile": self.ca, "ssl_certfile": self.certificate, "ssl_keyfile": self.key}
            given |= {name: str(path) for name, path in files.items() if path is not None}
        if self.user:
            given |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self._password(),
            }
        return given

    def _password(self) -> str:
        if self.password_file is None:
            raise SettingsWrong("SEALDESK_KAFKA_USER needs SEALDESK_KAFKA_PASSWORD_FILE.")
        try:
            password = self.password_file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise SettingsWrong(f"SEALDESK_KAFKA_PASSWORD_FILE: {self.password_file} cannot be read.") from None
        if not password:
            raise SettingsWrong(f"SEALDESK_KAFKA_PASSWORD_FILE: {self.password_file} is empty.")
        return password


def client(kind: Callable[..., Any], broker: Broker, **settings: Any) -> Any:
    """Make a client of kafka-python, or nothing: one that cannot connect would go on trying in a thread.

    Raises:
        KafkaError: the broker does not answer, or does not let us in.
        SettingsWrong: a file that the settings name cannot be read.
    """
    # At DEBUG the client writes keys and values into the process log.
    logging.getLogger("kafka").setLevel(logging.WARNING)
    connections: list[KafkaNetClient] = []

    def kept(**options: Any) -> KafkaNetClient:
        connections.append(KafkaNetClient(**options))
        return connections[0]

    try:
        return kind(kafka_client=kept, **broker.options(), **settings)
    except BaseException:
        for connection in connections:
            connection.close()
        raise


@contextmanager
def told(broker: Broker, doing: str) -> Iterator[None]:
    """Translate what kafka-python raises into what to look at. `doing` ends the sentence "Kafka does not ...".

    Raises:
        BrokerUnavailable: in place of any error of kafka-python.
    """
    try:
        yield
    except KafkaError as error:
        raise BrokerUnavailable(f"Kafka at {broker.bootstrap} does not {doing} ({_what(error, broker)}).") from error


def _what(error: KafkaError, broker: Broker) -> str:
    name = type(error).__name__
    if isinstance(error, SaslAuthenticationFailedError):
        return f"{name}: look at SEALDESK_KAFKA_USER and SEALDESK_KAFKA_PASSWORD_FILE"
    if isinstance(error, AuthorizationError):
        return f"{name}: SEALDESK_KAFKA_USER may not do this; see: sealdesk topics create --help"
    return f"{name}: look at SEALDESK_KAFKA, and whether the brokers run" + (" and TLS is on" if broker.tls else "")
