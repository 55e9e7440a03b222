"""Services that ask for something, which is done or refused."""

from collections.abc import Callable
from typing import Any


def answer(request: Callable[[], None], refused: type[Exception]) -> Callable[[Any, Any], Any]:
    """The callback of a service whose response has `success` and `message`, such as `std_srvs/Trigger`.

    Args:
        request: What is asked for.
        refused: What it raises, with the reason, where it is not done. All else is an error of the node.
    """

    def callback(_: Any, response: Any) -> Any:
        try:
            request()
            response.success = True
        except refused as refusal:
            response.message = str(refusal)
        return response

    return callback
