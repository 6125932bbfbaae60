"""Where the brokers are, how to get in, and what to look at when they refuse.

Every client of kafka-python is made here. It is given TLS and SASL by the settings, and an error of it is told as the
setting to look at: never as what it was given.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    InvalidReceiveError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
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
            SettingsWrong: a file cannot be read, or is not what it should be.
        """
        protocol = ("SASL_" if self.user else "") + ("SSL" if self.tls else "PLAINTEXT")
        given: dict[str, Any] = {"bootstrap_servers": self.bootstrap.split(","), "security_protocol": protocol}
        if self.tls:
            given["ssl_context"] = self._context()
        if self.user:
            given |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self._password(),
            }
        return given

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ValueError):
            raise SettingsWrong(f"SEALDESK_KAFKA_CA: {self.ca} cannot be read, or holds no certificate.") from None
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key)
            except (OSError, ValueError):
                raise SettingsWrong(
                    f"SEALDESK_KAFKA_CERTIFICATE and SEALDESK_KAFKA_KEY: {self.certificate} and its key cannot be "
                    "read, or do not belong together."
                ) from None
        return context

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


_CREDENTIALS = "look at SEALDESK_KAFKA_USER, SEALDESK_KAFKA_PASSWORD_FILE"
#: How long the brokers may take for one answer while we wait for it.
ANSWER_MILLISECONDS = 10_000
#: Enough for a broker that is there. What it says within this time decides whether to ask for longer.
_FIRST_MILLISECONDS = 2_000
_BOOTSTRAP_MILLISECONDS = 10_000


class _Client(KafkaNetClient):  # type: ignore[misc]  # kafka-python has no types.
    """The client's connections, and why one of them was last lost."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lost: _Lost | None = None
        connect = self._manager.get_connection

        def connected(*given: Any, **named: Any) -> Any:
            connection = connect(*given, **named)
            connection.close_future.add_errback(self._lose, connection)
            return connection

        self._manager.get_connection = connected

    def _lose(self, connection: Any, error: BaseException) -> None:
        # A broker that has refused may just hang up the next time.
        refused = self.lost is not None and type(self.lost.error) is not KafkaConnectionError
        if isinstance(error, KafkaError) and not refused:
            self.lost = _Lost(error, spoke=connection.broker_version_data is not None)


class _Lost(KafkaError):  # type: ignore[misc]  # kafka-python has no types.
    """A connection was lost. `spoke` is whether the other side ever answered as a broker does."""

    def __init__(self, error: KafkaError, *, spoke: bool) -> None:
        super().__init__()
        self.error = error
        self.spoke = spoke


def client(kind: Callable[..., Any], broker: Broker, **settings: Any) -> Any:
    """Make a client of kafka-python, or nothing: one that cannot connect would go on trying in a thread.

    Raises:
        KafkaError: the broker does not answer, or does not let us in.
        SettingsWrong: a file that the settings name cannot be read.
    """
    # At DEBUG the client writes keys and values into the process log, and what it cannot connect to is told here.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    longest = settings.pop("bootstrap_timeout_ms", _BOOTSTRAP_MILLISECONDS)
    try:
        return _made(kind, broker, settings | {"bootstrap_timeout_ms": min(longest, _FIRST_MILLISECONDS)})
    except _Lost as lost:
        if longest <= _FIRST_MILLISECONDS or _is_hopeless(lost, broker):
            raise
    except KafkaTimeoutError:
        if longest <= _FIRST_MILLISECONDS:
            raise
    return _made(kind, broker, settings | {"bootstrap_timeout_ms": longest - _FIRST_MILLISECONDS})


def _made(kind: Callable[..., Any], broker: Broker, settings: dict[str, Any]) -> Any:
    connections: list[_Client] = []

    def kept(**options: Any) -> _Client:
        connections.append(_Client(**options))
        return connections[0]

    try:
        return kind(kafka_client=kept, **broker.options(), **settings)
    except BaseException as error:
        for connection in connections:
            with suppress(Exception):
                connection.close()
            if isinstance(error, KafkaTimeoutError) and connection.lost is not None:
                raise connection.lost from error
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


def _is_hopeless(lost: _Lost, broker: Broker) -> bool:
    """Tell whether asking for longer would change nothing: a broker that starts refuses connections or drops them."""
    refused = (SaslAuthenticationFailedError, IllegalSaslStateError, UnsupportedSaslMechanismError, AuthorizationError)
    return isinstance(lost.error, refused) or "CERTIFICATE" in str(lost.error) or "WRONG_VERSION" in str(lost.error)


def _what(error: KafkaError, broker: Broker) -> str:
    if isinstance(error, _Lost):
        return _why(error, broker)
    return f"{type(error).__name__}: {_advice(error, broker)}"


def _why(lost: _Lost, broker: Broker) -> str:
    """Read of a lost connection what to look at. OpenSSL has no codes for it but in its sentences.

    https://docs.openssl.org/3.0/man1/openssl-verification-options/
    """
    said = str(lost.error)
    if "mismatch" in said:
        return "its certificate is of another host: look at the names in SEALDESK_KAFKA"
    if "expired" in said:
        return "its certificate has expired"
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return "its certificate is signed by nobody whom SEALDESK_KAFKA_CA names"
    if "ALERT" in said:
        return "it refuses our certificate: look at SEALDESK_KAFKA_CERTIFICATE and SEALDESK_KAFKA_KEY"
    if "SSL" in said:
        return "it speaks no TLS on this port: look at SEALDESK_KAFKA and SEALDESK_KAFKA_TLS"
    # An alert of TLS reads as the length of an answer, and as an impossible one.
    if not lost.spoke and not broker.tls and ("disconnected" in said or isinstance(lost.error, InvalidReceiveError)):
        return "it hangs up: it may speak TLS on this port, so look at SEALDESK_KAFKA and SEALDESK_KAFKA_TLS"
    if type(lost.error) is not KafkaConnectionError:
        return f"{type(lost.error).__name__}: {_advice(lost.error, broker)}"
    if lost.spoke and broker.user:
        # Mostly the broker hangs up before its answer was read.
        return f"it hangs up: {_CREDENTIALS} and SEALDESK_KAFKA_MECHANISM"
    if lost.spoke:
        return "it hangs up: it may ask for SEALDESK_KAFKA_USER"
    return f"no connection: {_advice(lost.error, broker)}"


def _advice(error: KafkaError, broker: Broker) -> str:
    match error:
        case SaslAuthenticationFailedError():
            return _CREDENTIALS
        case UnsupportedSaslMechanismError():
            return "look at SEALDESK_KAFKA_MECHANISM"
        case IllegalSaslStateError():
            return "it asks for no user on this port: look at SEALDESK_KAFKA, or leave out SEALDESK_KAFKA_USER"
        case UnknownTopicOrPartitionError():
            return "there is no such topic; make it with: sealdesk topics create"
        case AuthorizationError():
            return "SEALDESK_KAFKA_USER may not do this; see: sealdesk topics create --help"
        case _:
            return "look at SEALDESK_KAFKA, and whether the brokers run" + (" and TLS is on" if broker.tls else "")
