"""CRC-32C, the checksum of TensorFlow's checkpoints, fast enough in NumPy alone.

The data are cut into equal lanes, one table look-up a step goes through all of them, and the lanes'
checksums are joined in pairs: appending n zero bytes is a linear map of the checksum.

Source: Castagnoli et al., 1993; the joining is that of zlib's `crc32_combine`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
_ALL_ONES = 0xFFFFFFFF
_BITS = 32
_Words = np.ndarray[Any, np.dtype[np.uint32]]


def masked(data: bytes | memoryview) -> int:
    """Return the checksum of `data` as TensorFlow and LevelDB store it."""
    crc = checksum(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _ALL_ONES


def checksum(data: bytes | memoryview) -> int:
    """Return the CRC-32C of `data`."""
    count = len(data)
    lanes = 1 << (count.bit_length() // 2)
    steps = -(-count // lanes)
    padded = np.zeros(lanes * steps, np.uint8)  # zeros in front change nothing
    padded[lanes * steps - count :] = np.frombuffer(data, np.uint8)
    crcs = np.zeros(lanes, np.uint32)
    for column in np.ascontiguousarray(padded.reshape(lanes, steps).T):
        crcs = _TABLE[(crcs ^ column) & 0xFF] ^ crcs >> np.uint32(8)
    zeros = _power(_ZERO_BYTE, steps)
    while len(crcs) > 1:
        crcs = _apply(zeros, crcs[0::2]) ^ crcs[1::2]
        zeros = _apply(zeros, zeros)
    first = _apply(_power(_ZERO_BYTE, count), np.array([_ALL_ONES], np.uint32))
    return int(crcs[0] ^ first[0]) ^ _ALL_ONES


def _apply(operator: _Words, values: _Words) -> _Words:
    """Return a linear map's values; the map is given by what it makes of each single bit."""
    result = np.zeros_like(values)
    for bit in range(_BITS):
        result ^= np.where(values >> np.uint32(bit) & np.uint32(1), operator[bit], np.uint32(0))
    return result


def _power(operator: _Words, exponent: int) -> _Words:
    result = _BIT
    while exponent:
        if exponent & 1:
            result = _apply(operator, result)
        operator, exponent = _apply(operator, operator), exponent >> 1
    return result


def _table() -> _Words:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = table >> np.uint32(1) ^ np.where(table & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    return table


_TABLE = _table()
_BIT = np.uint32(1) << np.arange(_BITS, dtype=np.uint32)
_ZERO_BYTE = _TABLE[_BIT & np.uint32(0xFF)] ^ _BIT >> np.uint32(8)
