"""Content that slow readers hold: a store that lets go of a response frees nothing of it while it is being sent.

Only what a client did not take at once is lent, so small content never is. While a response is stored the store's
budget counts it; from the moment that it leaves, for whatever reason, to the end of its last reader it counts here.
"""

from typing import final

from mypy_extensions import mypyc_attr

from headgate.cache.entry import StoredResponse
from headgate.cache.untracked import untrack


@mypyc_attr(acyclic=True)
@final
class _Loan:
    """One response that is being sent: to how many, what it holds, and whether the store counts that."""

    __slots__ = ("is_stored", "octets", "readers")

    def __init__(self, octets: int, is_stored: bool) -> None:
        self.octets = octets
        self.is_stored = is_stored
        self.readers: int = 0


@final
class Loans:
    """What is lent of one store; `octets` is what of it the store does not count (any more)."""

    __slots__ = ("_lent", "octets")

    def __init__(self) -> None:
        self._lent: dict[StoredResponse, _Loan] = {}
        untrack(self._lent)
        self.octets: int = 0

    def __len__(self) -> int:
        return len(self._lent)

    def __repr__(self) -> str:
        return f"<Loans {len(self._lent)} responses, {self.octets} octets>"

    def has(self, variant: StoredResponse) -> bool:
        """Tell whether a slow reader holds a response."""
        return variant in self._lent

    def lend(self, variant: StoredResponse, octets: int, is_stored: bool) -> None:
        """One more reader holds a response, `octets` of memory; each gives it back once."""
        loan = self._lent.get(variant)
        if loan is None:
            loan = _Loan(octets, is_stored)
            self._lent[variant] = loan
            if not is_stored:
                self.octets += octets
        loan.readers += 1

    def give_back(self, variant: StoredResponse) -> None:
        """A reader has all of it, or is gone."""
        loan = self._lent[variant]
        loan.readers -= 1
        if loan.readers == 0:
            del self._lent[variant]
            if not loan.is_stored:
                self.octets -= loan.octets

    def left(self, variant: StoredResponse) -> None:
        """A response is not stored any more."""
        loan = self._lent.get(variant)
        if loan is not None and loan.is_stored:
            loan.is_stored = False
            loan.octets = max(loan.octets, variant.size)  # it may have grown by ranges meanwhile
            self.octets += loan.octets

    def came(self, variant: StoredResponse) -> None:
        """A response is stored, perhaps again."""
        loan = self._lent.get(variant)
        if loan is not None and not loan.is_stored:
            loan.is_stored = True
            self.octets -= loan.octets
