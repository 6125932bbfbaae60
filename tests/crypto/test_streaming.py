"""A sealed file opens to what was sealed, only where it belongs, only whole; and nobody needs memory for it."""

from __future__ import annotations

import hashlib
import io
import os
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, islice, pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crypto.sealing import padme
from crypto.streaming import (
    HEADER_BYTES,
    SEGMENT_BYTES,
    TAG_BYTES,
    blob_bound,
    decrypted,
    encrypted,
    open_stream,
    padded,
    seal_stream,
    unpadded,
)
from crypto.wrapping import Key, new_key
from domain.errors import SealBroken
from domain.ids import TenantId, ThingId

KEY, BOUND = Key(bytes(range(32))), b"where it belongs"
MIB = 2**20
#: What the first segment, and each after it, holds of a content.
FIRST, REST = SEGMENT_BYTES - HEADER_BYTES - TAG_BYTES, SEGMENT_BYTES - TAG_BYTES

contents = st.binary(max_size=300) | st.lists(st.sampled_from([b"\0", b"\0" * 40, b"\x80", b"x"])).map(b"".join)
cuts = st.lists(st.integers(0, 400), max_size=6)


def cut(content: bytes, sizes: Iterable[int]) -> list[bytes]:
    """Cut a content into chunks of these sizes, some of them empty, and whatever is left."""
    places = [0, *accumulate(sizes), len(content)]
    return [content[start:end] for start, end in pairwise(places)]


def sealed(content: bytes, bound: bytes = BOUND) -> bytes:
    return b"".join(seal_stream(KEY, bound, [content]))


def opened(raw: bytes, bound: bytes = BOUND) -> bytes:
    return b"".join(open_stream(KEY, bound, [raw]))


def segments(raw: bytes) -> list[bytes]:
    return [raw[at : at + SEGMENT_BYTES] for at in range(0, len(raw), SEGMENT_BYTES)]


def until_broken(chunks: Iterable[bytes]) -> bytes:
    """Give what comes out before a stream turns out to be broken."""
    shown = bytearray()
    try:
        for chunk in chunks:
            shown += chunk
    except SealBroken:
        return bytes(shown)
    pytest.fail("it opened up to its end")


#: Three segments and a part of a fourth.
LONG = os.urandom(3 * MIB + 1234)
LONG_SEALED = sealed(LONG)


# -- what comes back --------------------------------------------------------------------------------------------------


@given(contents, cuts, cuts)
@example(b"", [], [])
def test_a_file_comes_back_however_it_is_cut_on_both_ways(content: bytes, there: list[int], back: list[int]) -> None:
    raw = b"".join(seal_stream(KEY, BOUND, cut(content, there)))
    assert b"".join(open_stream(KEY, BOUND, cut(raw, back))) == content


@pytest.mark.parametrize("around", [FIRST, FIRST + REST, FIRST + 2 * REST])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_file_comes_back_that_ends_near_the_end_of_a_segment(around: int, more: int) -> None:
    content = os.urandom(around + more)
    raw = b"".join(encrypted(KEY, BOUND, [content]))
    segment_count = 1 + -(-(len(content) - FIRST) // REST) if len(content) > FIRST else 1
    assert len(raw) == HEADER_BYTES + len(content) + segment_count * TAG_BYTES
    assert b"".join(decrypted(KEY, BOUND, [raw])) == content
    assert opened(sealed(content)) == content


@given(cuts)
def test_a_file_of_some_segments_comes_back_in_chunks_of_any_size(sizes: list[int]) -> None:
    scaled = [4_999 * size for size in sizes]
    raw = b"".join(seal_stream(KEY, BOUND, cut(LONG, scaled)))
    assert b"".join(open_stream(KEY, BOUND, cut(raw, reversed(scaled)))) == LONG


def test_the_same_file_is_never_sealed_alike() -> None:
    assert sealed(b"a picture")[1:HEADER_BYTES] != sealed(b"a picture")[1:HEADER_BYTES]


def test_nothing_of_a_file_stands_in_what_is_stored() -> None:
    secret = b"Ann Abbott, 4 Park Row" * 1000
    assert secret[:22] in b"".join(padded([secret]))
    assert secret[:8] not in sealed(secret)


# -- what does not open -----------------------------------------------------------------------------------------------


@given(st.binary(max_size=60), st.data())
def test_a_single_changed_bit_anywhere_is_seen(content: bytes, data: st.DataObject) -> None:
    raw = bytearray(sealed(content))
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        opened(bytes(raw))


@given(st.binary(max_size=60), st.data())
def test_a_stream_that_was_cut_anywhere_is_seen(content: bytes, data: st.DataObject) -> None:
    raw = sealed(content)
    with pytest.raises(SealBroken):
        opened(raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(st.binary(max_size=60), st.binary(min_size=1, max_size=60))
def test_a_stream_that_was_continued_is_seen(content: bytes, more: bytes) -> None:
    with pytest.raises(SealBroken):
        opened(sealed(content) + more)


_CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "cut after a segment": lambda parts: parts[:2],
    "cut in a segment": lambda parts: [*parts[:2], parts[2][:-1]],
    "without its first": lambda parts: parts[1:],
    "without its second": lambda parts: [parts[0], *parts[2:]],
    "two swapped": lambda parts: [parts[0], parts[2], parts[1], *parts[3:]],
    "one twice": lambda parts: [*parts[:2], parts[1], *parts[2:]],
    "its last twice": lambda parts: [*parts, parts[-1]],
    "continued": lambda parts: [*parts, b"x"],
    "continued by another": lambda parts: [*parts, *segments(sealed(b"another"))],
    "with one of another": lambda parts: [parts[0], segments(sealed(LONG))[1], *parts[2:]],
    "with the first of another": lambda parts: [segments(sealed(LONG))[0], *parts[1:]],
    "with the header of another": lambda parts: [sealed(b"")[:HEADER_BYTES] + parts[0][HEADER_BYTES:], *parts[1:]],
    "with a bit changed": lambda parts: [parts[0], parts[1], parts[2][:9] + b"!" + parts[2][10:], *parts[3:]],
}


@pytest.mark.parametrize("change", _CHANGES.values(), ids=_CHANGES)
def test_segments_open_only_in_their_order_and_their_stream(change: Callable[[list[bytes]], list[bytes]]) -> None:
    assert opened(b"".join(segments(LONG_SEALED))) == LONG
    shown = until_broken(open_stream(KEY, BOUND, change(segments(LONG_SEALED))))
    # What came out before is a true beginning, of whole segments.
    assert LONG.startswith(shown)
    assert len(shown) in {0, FIRST, FIRST + REST, FIRST + 2 * REST}


def test_a_stream_opens_under_its_key_and_at_its_place_only() -> None:
    raw = sealed(b"a picture")
    with pytest.raises(SealBroken):
        b"".join(open_stream(new_key(), BOUND, [raw]))
    for bound in (b"", BOUND + b"!", BOUND[:-1]):
        with pytest.raises(SealBroken):
            opened(raw, bound)


def test_a_place_is_of_its_tenant_its_thing_and_its_file() -> None:
    ids = [UUID(int=number) for number in (1, 2, 3)]
    bounds = {
        blob_bound(TenantId(a), ThingId(b), c)
        for a, b, c in (ids, ids[::-1], [ids[1], ids[0], ids[2]], [uuid4(), *ids[1:]], [*ids[:2], uuid4()])
    }
    assert len(bounds) == 5


@pytest.mark.parametrize("first", [0, 24, 39, 41, 255])
def test_what_does_not_begin_with_the_length_of_its_header_is_no_sealed_file(first: int) -> None:
    with pytest.raises(SealBroken, match="no sealed file"):
        opened(bytes([first]) + sealed(b"a picture")[1:])


def test_what_was_not_padded_is_refused_at_its_end() -> None:
    for content in (b"", b"\0\0\0", b"no mark", b"\x80 no end"):
        with pytest.raises(SealBroken, match="padding"):
            opened(b"".join(encrypted(KEY, BOUND, [content])))


def test_no_message_says_what_a_file_holds() -> None:
    raw = bytearray(sealed(b"Ann Abbott"))
    raw[-1] ^= 1
    with pytest.raises(SealBroken) as refused:
        opened(bytes(raw))
    assert refused.value.__suppress_context__
    assert "Ann" not in repr(refused.value)


# -- the padding ------------------------------------------------------------------------------------------------------


@given(contents, cuts, cuts)
@example(b"\x80" + bytes(70_000), [3, 1], [60_000])
@example(bytes(1000), [3], [500])
def test_padding_comes_off_again_whatever_the_file_ends_with(content: bytes, there: list[int], back: list[int]) -> None:
    padded_content = b"".join(padded(cut(content, there)))
    assert padded_content.startswith(content + b"\x80")
    assert not padded_content[len(content) + 1 :].strip(b"\0")
    assert b"".join(unpadded(cut(padded_content, back))) == content


@given(st.integers(0, 3 * MIB))
def test_what_is_stored_has_one_of_few_lengths(size: int) -> None:
    content = bytes(size)
    length = padme(size + 1)
    assert sum(map(len, padded([content]))) == length
    segment_count = max(1, 1 + -(-(length - FIRST) // REST))
    assert len(sealed(content)) == HEADER_BYTES + length + segment_count * TAG_BYTES
    assert length <= size + 1 + 0.12 * (size + 1)


# -- memory -----------------------------------------------------------------------------------------------------------


def _peak_bytes(work: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _generated(what: bytes, mebibytes: int) -> Iterator[bytes]:
    """Make chunks as long as a prime, each anew."""
    size = 100_003
    return (bytes(bytearray(what * (size // len(what)))) for _ in range(mebibytes * MIB // size))


@pytest.mark.parametrize(
    "what", [b"\0", b"\x80", b"file", b"\x80" + bytes(99)], ids=["zeros", "marks", "words", "marks and zeros"]
)
def test_memory_stays_flat_whatever_the_size_and_the_content(what: bytes) -> None:
    mebibytes, digests = 64, []

    def noted(chunks: Iterable[bytes]) -> Iterator[bytes]:
        digest = hashlib.sha256()
        for chunk in chunks:
            digest.update(chunk)
            yield chunk
        digests.append(digest.digest())

    def there_and_back() -> None:
        raw = seal_stream(KEY, BOUND, noted(_generated(what, mebibytes)))
        for _ in noted(open_stream(KEY, BOUND, raw)):
            pass

    assert _peak_bytes(there_and_back) < 16 * MIB
    assert len(digests) == 2
    assert digests[0] == digests[1]


def test_one_chunk_that_is_the_whole_file_is_not_copied_whole() -> None:
    content = bytes(32 * MIB)

    def through() -> None:
        for _ in seal_stream(KEY, BOUND, [content]):
            pass

    assert _peak_bytes(through) < 16 * MIB


def test_what_is_long_comes_out_before_the_end_has_come_in() -> None:
    endless = iter(lambda: b"x" * 65_536, b"")
    raw = seal_stream(KEY, BOUND, endless)
    assert len(b"".join(islice(raw, 3))) == 3 * MIB


# -- Tink -------------------------------------------------------------------------------------------------------------

#: Made by Tink 1.16.1 with the key and the associated data of this module: what `_tink` encrypts b"from Tink".
VECTOR = bytes.fromhex(
    "28acbeaec0ccedbc4c983ef187c7bb26f02ee06943695d4bd5209b1b78ac76ea5e64fac7b4e3cc0df1a617ce3245d31cc994"
    "5fe087fc9e9bbcd3ade001f7d51f41"
)


class _Unclosed(io.BytesIO):
    """Keeps what Tink has written, although Tink closes what it writes to."""

    written = b""

    def close(self) -> None:
        self.written = self.getvalue()
        super().close()


@pytest.fixture(scope="module")
def tink() -> Any:
    """Tink's own primitive for AES256_GCM_HKDF_1MB over the key of this module."""
    # There is no wheel for every machine; where there is none, the vector still stands for the format.
    tink = pytest.importorskip("tink")
    from tink import secret_key_access, streaming_aead
    from tink.proto import aes_gcm_hkdf_streaming_pb2, tink_pb2

    streaming_aead.register()
    template = streaming_aead.streaming_aead_key_templates.AES256_GCM_HKDF_1MB
    made = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKeyFormat.FromString(template.value)
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(
        version=0, key_value=KEY.material, params=made.params
    ).SerializeToString()
    keyset = tink_pb2.Keyset(
        primary_key_id=1,
        key=[
            tink_pb2.Keyset.Key(
                key_id=1,
                status=tink_pb2.ENABLED,
                output_prefix_type=tink_pb2.RAW,
                key_data=tink_pb2.KeyData(
                    type_url=template.type_url, value=key, key_material_type=tink_pb2.KeyData.SYMMETRIC
                ),
            )
        ],
    )
    handle = tink.proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


def _by_tink(primitive: Any, content: bytes, bound: bytes = BOUND) -> bytes:
    written = _Unclosed()
    with primitive.new_encrypting_stream(written, bound) as stream:
        stream.write(content)
    return written.written


SIZES = [0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST + REST, FIRST + REST + 1, 3 * MIB + 77]


@pytest.mark.parametrize("size", SIZES)
def test_tink_opens_what_we_encrypt(tink: Any, size: int) -> None:
    content = os.urandom(size)
    raw = b"".join(encrypted(KEY, BOUND, cut(content, [1000, 7])))
    with tink.new_decrypting_stream(io.BytesIO(raw), BOUND) as stream:
        assert stream.read() == content


@pytest.mark.parametrize("size", SIZES)
def test_we_open_what_tink_encrypts(tink: Any, size: int) -> None:
    content = os.urandom(size)
    raw = _by_tink(tink, content)
    assert b"".join(decrypted(KEY, BOUND, cut(raw, [1000, 7]))) == content
    with pytest.raises(SealBroken):
        b"".join(decrypted(KEY, BOUND + b"!", [raw]))


def test_what_tink_once_encrypted_opens() -> None:
    assert b"".join(decrypted(KEY, BOUND, [VECTOR])) == b"from Tink"
