"""What health costs a request: `python -m bench.micro.health`. The goal is 0.4 µs at most for each call."""

from collections.abc import Callable

from bench.micro.clock import nanoseconds, show
from headgate.upstream import health as module
from headgate.upstream.health import BROKEN, EndpointHealth, OutlierLimits

GOAL = 400.0


def whole(health: EndpointHealth, status: int) -> Callable[[], object]:
    return lambda: health.succeeded(1000.0, 0.002, status)


def broken(health: EndpointHealth) -> Callable[[], object]:
    return lambda: health.failed(1000.0, BROKEN)


def main() -> None:
    print(f"{module.__file__}\n")
    costs = {
        "a response with 200": whole(EndpointHealth("http://10.0.0.1"), 200),
        "a response with 500": whole(EndpointHealth("http://10.0.0.1"), 500),
        "a response with 500, the check is off": whole(
            EndpointHealth("http://10.0.0.1", OutlierLimits(server_errors=0)), 500
        ),
        "no whole response": broken(EndpointHealth("http://10.0.0.1")),
    }
    worst = 0.0
    for label, call in costs.items():
        cost = nanoseconds(call)
        show(label, cost)
        worst = max(worst, cost)
    print(f"\nworst: {worst:.0f} ns (goal {GOAL:.0f}: {'met' if worst <= GOAL else 'MISSED'})")


if __name__ == "__main__":
    main()
