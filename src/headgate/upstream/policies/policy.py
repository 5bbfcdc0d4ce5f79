"""What a balancing policy is: a choice among endpoints, made without looking at the clock or the network."""

from mypy_extensions import mypyc_attr

from headgate.upstream.endpoint import Endpoint


@mypyc_attr(allow_interpreted_subclasses=True)
class Policy:
    """Base of all policies; `endpoints` is never empty."""

    def pick(self, endpoints: list[Endpoint]) -> Endpoint:
        """Return the endpoint for the next attempt."""
        raise NotImplementedError
