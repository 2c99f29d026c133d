"""The header and the check around one example's bytes."""

from __future__ import annotations

import struct
import zlib

from ...errors import StoreError

HEADER = struct.Struct("<2sBcI8sI")  # magic, version, kind, CRC-32 of all but itself, id of what it is read with, positions
MAGIC, VERSION = b"PT", 1
LONGEST = 1 << 22  # positions: a header that claims more is not ours


def close(kind: bytes, reader: bytes, positions: int, body: bytes) -> bytes:
    """Return ``body`` framed; ``reader`` (8 bytes) says what it is read with: a codebook, a head."""
    bare = HEADER.pack(MAGIC, VERSION, kind, 0, reader, positions)
    return HEADER.pack(MAGIC, VERSION, kind, zlib.crc32(body, zlib.crc32(bare)), reader, positions) + body


def open(data: bytes, kind: bytes, reader: bytes) -> tuple[int, memoryview]:
    """Return the positions and the body of framed ``data``; raises :class:`StoreError` unless it's whole, of that kind, and for that reader."""
    if len(data) < HEADER.size or data[:2] != MAGIC:
        raise StoreError(
            f"{len(data)} bytes without our header", place="token store", remedy="the value is cut off or of something else: label these rows again"
        )
    _, version, found, check, who, positions = HEADER.unpack_from(data)
    if zlib.crc32(data[HEADER.size :], zlib.crc32(HEADER.pack(MAGIC, version, found, 0, who, positions))) != check:
        raise StoreError("the bytes fail their check", place="token store", remedy="the value is damaged: label these rows again")
    if version != VERSION:
        raise StoreError(f"format {version}, we read {VERSION}", place="token store", remedy="read it with the release that wrote it, or label again")
    if found != kind:
        raise StoreError(f"rows of kind {found!r}, asked for {kind!r}", place="token store", remedy="decode with the way that encoded them")
    if who != reader:
        raise StoreError(
            f"written with {who.hex()}, read with {reader.hex()}", place="token store", remedy="give the codebook or head that they were written with"
        )
    if positions > LONGEST:
        raise StoreError(f"{positions} positions in one row", place="token store", remedy="split the text")
    return positions, memoryview(data)[HEADER.size :]
