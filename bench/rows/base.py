"""What a row is: a question asked of several lanes, round by round."""

from bench.lab import Lab, Lane, Sample
from bench.proxies import Origin, Profile, Proxy


class Row:
    """One line of the table.

    `unit` names the value ("µs": CPU per request). A goal is a ratio to the baseline lane when
    `goal_is_ratio`, else a value in the unit.
    """

    name = ""
    title = ""
    unit = "µs"
    goal: float | None = None
    goal_is_ratio = True
    profile = Profile()
    # Rounds of rows that take long; 0: as many as asked for.
    max_rounds = 0
    in_quick = True
    # Whether lanes must be freshly started for this row.
    fresh = False

    def lanes(self, proxies: list[Proxy]) -> list[Lane]:
        """Return what is compared."""
        return [Lane(p.name, p, self.profile) for p in proxies if not isinstance(p, Origin)]

    def baseline(self, label: str) -> str:
        """Return the label that `label` is compared with."""
        return "haproxy"

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        """Bring `lane` up and to temperature."""

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        """Do one round."""
        raise NotImplementedError
