"""Which writes asynchronous replication lost, by what the servers themselves tell of it."""

from collections.abc import Mapping
from math import inf
from typing import Any, NamedTuple


class Place(NamedTuple):
    """Where a master wrote: the id of its history (`master_replid`), and how far (bytes) that went with the write."""

    history: str
    offset: int


class Lineage:
    """The histories of a master and its replicas: a server that is promoted begins one, which tells of the one before.

    A promoted server holds of the history before what lies below its `second_repl_offset`, and never gets the rest.
    """

    def __init__(self) -> None:
        self.begun: dict[str, float] = {}
        self.parents: dict[str, Place] = {}

    def note(self, told: Mapping[str, Any], now: float) -> None:
        """What a server answered to `INFO replication` at `now` (s)."""
        if told["role"] != "master":
            return
        history = told["master_replid"]
        self.begun.setdefault(history, now)
        if told["second_repl_offset"] > 0:
            self.parents.setdefault(history, Place(told["master_replid2"], told["second_repl_offset"]))

    def lost_at(self, place: Place) -> float:
        """When a master was first met that goes on without what was written there; infinite for none."""
        since = self.begun[place.history]
        return min(
            (at for history, at in self.begun.items() if at > since and not self.holds(history, place)), default=inf
        )

    def holds(self, history: str, place: Place) -> bool:
        """Whether a server of this history has what was written there."""
        end: float = inf
        while history != place.history:
            if history not in self.parents:
                return False
            history, end = self.parents[history]
        return place.offset < end
