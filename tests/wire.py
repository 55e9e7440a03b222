"""What a message becomes on its way to another process, and whether two core values are the same."""

import dataclasses

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message


def through_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


def assert_equal(a, b):
    """Equality of dataclasses whose fields hold arrays, NaN equal to NaN."""
    if dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            assert_equal(getattr(a, field.name), getattr(b, field.name))
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, np.ndarray) and a.dtype.kind == "f":
        np.testing.assert_allclose(a, b, atol=1e-12)
    elif isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b
