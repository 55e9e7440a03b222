"""Deep features of the network, kept from one step of the sampler to the next: DeepCache (arXiv:2312.00858)."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

NetworkWithDeep = Callable[..., tuple[Tensor, Tensor]]
"""What `network.TwoViewUNet.with_deep` does."""


class FeatureReuse:
    """A network for one run of a sampler, which computes its deep features at every so many calls only.

    Args:
        network: Gives its deep features, too, and takes those of an earlier call.
        interval: 1 computes them at every call, 2 at every other one.
    """

    def __init__(self, network: NetworkWithDeep, interval: int) -> None:
        self._network, self._interval = network, interval
        self._calls = 0
        self._deep: Tensor | None = None

    def __call__(
        self,
        noisy: Float[Tensor, "b v t c h w"],
        noise_level: Float[Tensor, " b"],
        condition: Float[Tensor, "b v c h w"],
        context: Float[Tensor, "b v s d"],
    ) -> Float[Tensor, "b v t c h w"]:
        """What the network returns."""
        inputs = (noisy, noise_level, condition, context)
        if self._calls % self._interval == 0:
            output, self._deep = self._network(*inputs)
        else:
            output, _ = self._network(*inputs, self._deep)
        self._calls += 1
        return output
