"""Inflating what publishers compressed, up to a limit.

Rule: a few kilobytes never become gigabytes. kafka-python inflates whatever comes; here the limit is looked at before
the memory is taken. The four codecs: https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping

from domain.errors import SettingsWrong

#: Bytes of one batch of Kafka records, inflated. Producers gather a megabyte or less before they compress; the largest
#: record takes four, and an envelope around it a little more.
INFLATED_BYTES = 64 * 1024 * 1024
#: What the xerial library writes before its blocks of snappy: a magic word, then two numbers of 4 bytes.
_XERIAL = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16


class TooLarge(Exception):
    """It would become larger than the limit."""


class CannotInflate(Exception):
    """It is nothing that this codec has written. What stood there is not said."""


def inflate(codec: int, packed: bytes, limit: int = INFLATED_BYTES) -> bytes:
    """Inflate what a codec (1 gzip, 2 snappy, 3 lz4, 4 zstd) has made.

    Raises:
        TooLarge: it would be larger than `limit` bytes.
        CannotInflate: it is damaged, or there is no such codec.
        SettingsWrong: the package of this codec is not installed.
    """
    if codec not in _CODECS:
        raise CannotInflate
    try:
        inflated = _CODECS[codec](packed, limit)
    except (TooLarge, CannotInflate):
        raise
    except ImportError as error:
        raise SettingsWrong(f"Records come compressed, and the Python package {error.name} is missing.") from None
    except Exception:
        # Each codec has errors of its own, and some quote what they found.
        raise CannotInflate from None
    if len(inflated) > limit:
        raise TooLarge
    return inflated


def _gzip(packed: bytes, limit: int) -> bytes:
    found = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    inflated = found.decompress(packed, limit + 1)
    if len(inflated) <= limit and not found.eof:
        raise CannotInflate
    return inflated


def _lz4(packed: bytes, limit: int) -> bytes:
    from lz4.frame import LZ4FrameDecompressor

    found = LZ4FrameDecompressor()
    inflated: bytes = found.decompress(packed, max_length=limit + 1)
    if len(inflated) <= limit and not found.eof:
        raise CannotInflate
    return inflated


def _zstd(packed: bytes, limit: int) -> bytes:
    from zstandard import ZstdDecompressor

    with ZstdDecompressor().stream_reader(io.BytesIO(packed), read_across_frames=True) as reader:
        inflated: bytes = reader.read(limit + 1)
    return inflated


def _snappy(packed: bytes, limit: int) -> bytes:
    import snappy

    inflated: list[bytes] = []
    for block in _blocks(packed):
        limit -= _said_bytes(block)
        if limit < 0:
            raise TooLarge
        inflated.append(snappy.decompress(block))
    return b"".join(inflated)


def _blocks(packed: bytes) -> Iterator[bytes]:
    """Cut a stream of the xerial library, as Java writes it, into its blocks. Others write one block and no frame."""
    if not packed.startswith(_XERIAL):
        yield packed
        return
    at = _XERIAL_HEADER_BYTES
    while at < len(packed):
        (length,) = struct.unpack_from(">I", packed, at)
        yield packed[at + 4 : at + 4 + length]
        at += 4 + length


def _said_bytes(block: bytes) -> int:
    """Read how long a block of snappy says that it will be: a number in groups of 7 bits, the lowest first.

    https://github.com/google/snappy/blob/main/format_description.txt
    """
    said = 0
    for place, byte in enumerate(block[:5]):
        said |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return said
    raise CannotInflate


_CODECS: Mapping[int, Callable[[bytes, int], bytes]] = {1: _gzip, 2: _snappy, 3: _lz4, 4: _zstd}
