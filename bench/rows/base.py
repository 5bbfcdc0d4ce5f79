"""What a row is: a question asked of several lanes, round by round."""

from pathlib import Path

from bench.lab import Lab, Lane, Sample
from bench.proxies import Origin, Profile, Proxy


class Row:
    """One line of the table.

    `version`: proxies that do not speak it take no part.

    `unit` names the value ("µs": CPU per request). A goal is a ratio to the baseline lane when
    `goal_is_ratio`, else a value in the unit.
    """

    name = ""
    title = ""
    unit = "µs"
    goal: float | None = None
    goal_is_ratio = True
    version = "h1"
    profile = Profile()
    # Rounds of rows that take long; 0: as many as asked for.
    max_rounds = 0
    in_quick = True
    # Whether lanes must be freshly started for this row.
    fresh = False

    def lanes(self, proxies: list[Proxy]) -> list[Lane]:
        """Return what is compared."""
        return [
            Lane(p.name, p, self.profile)
            for p in proxies
            if not isinstance(p, Origin) and self.version in p.versions
        ]

    def baseline(self, label: str) -> str:
        """Return the label that `label` is compared with."""
        return "haproxy"

    def absent(self, rivals: Path | None) -> str | None:
        """Say what it lacks here, or None; `rivals` is the root of a newer Debian."""
        return None

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        """Bring `lane` up and to temperature."""

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        """Do one round."""
        raise NotImplementedError
