"""Requests and replies over two pipes: a length, a line of JSON, and the bytes of arrays.

Imported by the servers from their own folder, so it needs numpy and Python 3.8, and nothing else.
"""

import json
import os
import struct
import sys
import traceback

import numpy as np

_LENGTH = struct.Struct("<Q")
LARGEST_HEADER = 1 << 20
"""Bytes of JSON above which the stream is taken to be out of step."""


def pack(values, arrays):
    """The bytes of a message: JSON values and named numpy arrays."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    specs = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    header = json.dumps({"values": values, "arrays": specs}).encode()
    return b"".join([_LENGTH.pack(len(header)), header, *(array.tobytes() for array in arrays.values())])


def unpack(read):
    """The next message, as values and arrays; `read` gives exactly as many bytes as it is asked for.

    Raises:
        ValueError: this is no message.
    """
    (length,) = _LENGTH.unpack(read(_LENGTH.size))
    if length > LARGEST_HEADER:
        raise ValueError(f"a header of {length} bytes is no message: something else writes to the pipe")
    header = json.loads(read(length))
    arrays = {}
    for name, dtype, shape in header["arrays"]:
        kind = np.dtype(dtype)
        data = read(kind.itemsize * int(np.prod(shape, dtype=np.int64)))
        arrays[name] = np.frombuffer(data, kind).reshape(shape).copy()
    return header["values"], arrays


def serve(handle):
    """Answer requests until the pipe closes: `handle(values, arrays)` returns the values and arrays of the reply.

    What the library prints goes to standard error, as standard output is the pipe.
    """
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def read(count):
        data = requests.read(count)
        if len(data) < count:
            raise EOFError
        return data

    while True:
        try:
            values, arrays = unpack(read)
        except EOFError:
            return
        try:
            reply = handle(values, arrays)
        except Exception as error:  # any error is the client's to report
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}, {}
        replies.write(pack(*reply))
        replies.flush()
