"""The answer of DescribeTasks, in each of the readings its documentation allows (docs/provider.md 3)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from app.provider.simulator.bodies import Listing
from app.provider.simulator.lives import TaskStatus
from app.provider.simulator.recordings import Recording


@dataclass(frozen=True, slots=True)
class ListReading:
    """How the documentation is read where it is ambiguous.

    `key` is the member that holds the items. With `narrow`, filter 2 shows tasks of status 2 only, instead of
    all that have not ended, and filter 3 those of status 3 only. Tasks come newest first, or `oldest_first`.
    A page without items is an `empty` list, null, or absent.
    """

    key: Literal["TaskidList", "TaskList"] = "TaskidList"
    narrow: bool = False
    oldest_first: bool = False
    empty: Literal["list", "null", "absent"] = "list"

    def data(self, newest_first: Iterable[Recording], asked: Listing, now: float) -> dict[str, object]:
        """Return `Data`: one page of those of these recordings which the filters let through."""
        found = [one for one in newest_first if asked.room_id in (None, one.room_id) and self._shows(one, asked, now)]
        if self.oldest_first:
            found.reverse()
        skipped = (asked.page - 1) * asked.page_size
        page: dict[str, object] = {"PageOffset": asked.page, "PageSize": asked.page_size, "TotalCount": len(found)}
        items = [one.listed(now) for one in found[skipped : skipped + asked.page_size]]
        if items or self.empty == "list":
            return {**page, self.key: items}
        return {**page, self.key: None} if self.empty == "null" else page

    def _shows(self, recording: Recording, asked: Listing, now: float) -> bool:
        if recording.has_ended(now) != asked.over:
            return False
        return not self.narrow or recording.status(now) is (TaskStatus.ENDED if asked.over else TaskStatus.IN_PROGRESS)
