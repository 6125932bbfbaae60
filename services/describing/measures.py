"""The technical and organisational measures that sealdesk itself brings, each with what shows it, and what it lacks.

Rule: a measure stands here only if a test or a module shows it. What depends on how it is run is the operator's to say.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure: the goal of Article 32 that it serves, what is done, and the test or document that shows it."""

    goal: str
    what: str
    shown_by: str


MEASURES: tuple[Measure, ...] = (
    Measure(
        "pseudonymisation",
        "People and things are known inside by random ids. References are looked up by an HMAC under a key of the"
        " tenant, and where an index leads is sealed.",
        "tests/crypto/test_register.py::test_a_fenced_reference_leads_nowhere_and_has_a_day",
    ),
    Measure(
        "encryption",
        "The personal fields of each fact are sealed with AES-256-GCM under a key that is used once. Tenant, stream,"
        " event, type, key and field names are bound to the seal; lengths are padded.",
        "tests/crypto/test_sealing.py::test_a_seal_that_is_presented_elsewhere_does_not_open",
    ),
    Measure(
        "encryption",
        "Nothing personal is at rest in the clear: not in tables, write-ahead logs, server logs or error messages.",
        "tests/acceptance/test_at_rest.py::test_no_personal_value_is_at_rest_before_or_after_a_shred",
    ),
    Measure(
        "confidentiality",
        "Log and keys lie in two database clusters, and the roots in a third place, so that no backup of one opens"
        " another.",
        "SECURITY.md",
    ),
    Measure(
        "confidentiality",
        "No key outlives a batch or a request.",
        "tests/services/test_reading.py::test_no_key_outlives_a_batch_or_a_reveal",
    ),
    Measure(
        "confidentiality",
        "Lists and reports are made without any key. A field is shown only for a reason, and each reveal leaves an"
        " access line: who, when, why, which things.",
        "tests/acceptance/test_cli.py::test_a_reveal_shows_values_and_leaves_an_access_line",
    ),
    Measure(
        "integrity",
        "A seal or a key that was changed, moved or swapped does not open, and never reads as shredded.",
        "tests/crypto/test_tree.py::test_what_is_missing_or_changed_never_looks_like_a_shred",
    ),
    Measure(
        "integrity",
        "A record is stored once, however often it arrives.",
        "tests/services/test_promises.py::test_the_same_once_more_stores_nothing_and_the_key_work_done_again_changes_nothing",
    ),
    Measure(
        "availability",
        "A crash at any point of any process loses no record that was taken, and repeats no effect.",
        "tests/acceptance/test_kill.py::test_killed_and_run_again_equals_a_run_that_nobody_disturbed",
    ),
    Measure(
        "availability",
        "What cannot be taken waits in a quarantine, sealed whole, under a key that dies with its days.",
        "tests/acceptance/test_cli.py::test_bad_records_go_to_the_quarantine_and_nothing_of_them_is_repeated",
    ),
    Measure(
        "erasure",
        "A person is forgotten by the destruction of one key, wherever copies of the seals are.",
        "tests/services/test_promises.py::test_what_is_gone_opens_nowhere_and_everything_else_opens",
    ),
    Measure(
        "erasure",
        "A late record about somebody who was shredded is refused, counted and not kept.",
        "tests/acceptance/test_stories.py::test_a_late_record_about_somebody_shredded_is_refused_counted_and_nowhere_kept",
    ),
    Measure(
        "erasure",
        "After a shred, anything readable about the person is looked for, and the account of it is signed.",
        "tests/acceptance/test_cli.py::test_residue_is_a_negative_answer",
    ),
    Measure(
        "accountability",
        "Every shred has an actor, a ground and a request, and a line on a signed, hash-chained ledger.",
        "tests/crypto/test_ledger.py::test_a_writer_that_is_killed_in_the_middle_of_a_line_leaves_no_trace_in_the_chain",
    ),
    Measure(
        "minimisation",
        "A field that no type declares is sealed; a text in the clear is a word of a vocabulary, or it cannot exist.",
        "tests/domain/test_catalogue.py::TestTypesThatCannotExist::test_a_clear_field_that_could_hold_a_text",
    ),
    Measure(
        "regular testing",
        "Every promise above is a test that runs on every change, against real databases.",
        "ARCHITECTURE.md",
    ),
)

#: What the measures do not reach. SECURITY.md says it at length.
LIMITS: tuple[str, ...] = (
    "Backups, replicas and old files of the key database, as long as a root above them exists.",
    "Kafka topics with plaintext, which publishers and the operator keep short.",
    "Names of other people inside a text, which go with the person whose text it is.",
    "Upstream systems, exports, and what was printed or copied.",
)

#: What depends on how sealdesk is run, and who has to say it.
OPERATORS: tuple[str, ...] = (
    "Physical access to the machines.",
    "Accounts on the machines, and who may run `--reveal` and `shred`.",
    "Encrypted connections to databases and broker, and their backups.",
    "Training of those who reveal and shred.",
)
