"""The errors of the house. Who can act decides the branch; no message quotes personal data.

SealdeskError
├── CallerCanAct                 the one who asked has to ask differently
│   ├── RecordRefused            a record cannot be taken: (code, declared field path)
│   │   ├── RecordInvalid        it is wrong in itself; it is quarantined
│   │   ├── RecordWaits          what it is about is not known yet; it is quarantined until it is
│   │   └── RecordFenced         what it is about was shredded; it is counted and not kept
│   ├── SettingsWrong            a setting or an argument is missing or contradicts another
│   │   └── RightMissing         the login of a database may not do this
│   ├── ReferenceUnknown         nobody and nothing is known by this reference
│   ├── ReferenceMalformed       this can be no e-mail address, number or id
│   ├── BlobMissing              nothing is stored of this file
│   ├── ShredRefused             a fence, a hold or the brake stands in the way
│   ├── TenantIsClosed           the tenant was closed: nothing of it opens, and nothing is sealed for it
│   └── CertificateInvalid       the signature does not fit the certificate
├── OperatorCanAct               a person who runs the house has to look
│   ├── KeysUnavailable          the key database or the roots cannot be reached
│   │   ├── KeyExpired           a key had its time and was destroyed: what is under it stays closed
│   │   └── GateShut             log, keys and ledger do not fit together: nothing may start, or go on
│   │       └── KeysBehind       the key database is older than it was: a standby or a copy took its place
│   ├── KeyLost                  a key that must exist does not, and no shred explains it
│   ├── LogUnavailable           the log database cannot be reached
│   ├── SchemaUnfit              the tables of a database are of another version than this program
│   ├── BrokerUnavailable        Kafka cannot be reached
│   ├── BlobsUnavailable         the store of sealed files cannot be reached, or refuses
│   ├── LedgerBroken             the ledger's chain, signature or numbering is wrong
│   │   └── LedgerUnavailable    a place of the ledger does not answer, or stores nothing
│   ├── RootsUnsafe              others can read the roots
│   └── ServerFailed             an embedded server did not start or stop
└── NobodyCanAct                 a bug, or somebody has changed stored data
    ├── BatchDisturbed           others came between a batch and its keys again and again; it may be taken again
    ├── SealBroken               a seal or a wrapped key was changed, moved or swapped
    └── PositionMoved            two runners fed one read model, or stored one Kafka partition; one gave up
"""

from __future__ import annotations

from collections.abc import Iterable


class SealdeskError(Exception):
    """The root of the tree. `exit_status` is what a command ends with when this reaches it."""

    exit_status = 1


class CallerCanAct(SealdeskError):
    """The one who asked has to ask differently."""

    exit_status = 2


class RecordRefused(CallerCanAct):
    """A record cannot be taken.

    `code` is a word of a closed list; `path` is a field path as *declared* by sealdesk. Neither ever repeats
    anything that the record said: even the name of an unknown field may be personal.
    """

    def __init__(self, code: str, path: str = "") -> None:
        super().__init__(f"{code} at {path}" if path else code)
        self.code = code
        self.path = path


class RecordInvalid(RecordRefused):
    """The record is wrong in itself."""


class RecordWaits(RecordRefused):
    """The record is about a thing that is not known yet and does not say whose it is.

    `waits_for` are the blind indexes of the missing references (32 bytes each); any one that appears may be enough.
    """

    def __init__(self, code: str, path: str = "", *, waits_for: Iterable[bytes]) -> None:
        super().__init__(code, path)
        self.waits_for = tuple(waits_for)


class RecordFenced(RecordRefused):
    """The record is about somebody or something that was shredded."""


class SettingsWrong(CallerCanAct):
    """A setting or an argument is missing, unsafe or contradicts another."""


class RightMissing(SettingsWrong):
    """The login of a database, or the role that it took, may not do what was asked for. Nothing was done."""


class ReferenceUnknown(CallerCanAct):
    """Nobody and nothing is known by this reference."""

    exit_status = 3


class ReferenceMalformed(CallerCanAct):
    """This can be no e-mail address, phone number or id."""


class BlobMissing(CallerCanAct):
    """Nothing is stored of this file: it never came, or it was swept after its key."""

    exit_status = 3


class ShredRefused(CallerCanAct):
    """A fence, a hold or the brake stands in the way of a shred; `code` says which."""

    exit_status = 4

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TenantIsClosed(CallerCanAct):
    """The tenant was closed. What is left of it are counts."""

    exit_status = 4


class CertificateInvalid(CallerCanAct):
    """The signature does not fit the certificate, or the certificate is not whole."""

    exit_status = 1


class OperatorCanAct(SealdeskError):
    """A person who runs the house has to look."""

    exit_status = 5


class KeysUnavailable(OperatorCanAct):
    """The key database or the roots cannot be reached. This says nothing about any key."""


class KeyExpired(KeysUnavailable):
    """A named key had its time and was destroyed. That is kept, so that it is not taken for one out of reach."""


class GateShut(KeysUnavailable):
    """Log, key database and ledger are not of one time. To try again would not help: somebody has to look."""


class KeysBehind(GateShut):
    """The key database is older than it was: a copy, or a standby that lacks the last batches, took its place.

    Trying again does not help: a process that meets this stops.
    """


class KeyLost(OperatorCanAct):
    """A key that must exist does not, and no shred explains it."""

    exit_status = 1


class LogUnavailable(OperatorCanAct):
    """The log database cannot be reached."""


class SchemaUnfit(OperatorCanAct):
    """The tables of a database are of another version than this program, or do not let themselves be changed."""

    exit_status = 4


class BrokerUnavailable(OperatorCanAct):
    """Kafka cannot be reached."""


class BlobsUnavailable(OperatorCanAct):
    """The store of sealed files cannot be reached, is full, or refuses. This says nothing about any file."""


class LedgerBroken(OperatorCanAct):
    """The ledger's chain, a signature or a number is wrong."""


class LedgerUnavailable(LedgerBroken):
    """A place of the ledger does not answer, or stores nothing. This says nothing about any line."""


class RootsUnsafe(OperatorCanAct):
    """The roots can be read by others, or lie where a backup of the databases would take them along."""


class ServerFailed(OperatorCanAct):
    """An embedded server did not start or did not stop."""


class NobodyCanAct(SealdeskError):
    """A bug, or somebody has changed stored data."""

    exit_status = 1


class BatchDisturbed(NobodyCanAct):
    """Others changed what a batch is about, each time it was decided. Nothing is stored; it may be taken again."""


class SealBroken(NobodyCanAct):
    """A seal or a wrapped key was changed, cut, moved or swapped."""


class PositionMoved(NobodyCanAct):
    """Two runners fed one read model, or stored one Kafka partition; this one gave up and changed nothing."""
