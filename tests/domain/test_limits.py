"""Limits that clients are told have one home, and are those of the contract."""

import re
from pathlib import Path

import pytest

from service.domain import limits

ROOT = Path(__file__).parents[2]
CONTRACT = "\n".join(page.read_text() for page in sorted((ROOT / "proto").rglob("*.proto")))
# What a worker serves, stores or writes at once is no limit of a request.
ELSEWHERE = {
    "service/rpc/in_flight.py",
    "service/messages/budget.py",
    "service/messages/lane_queue.py",
    "service/presence/writer.py",
}
# Told in a refusal alone, by GetServerInfo alone, or in other words.
NOT_IN_THE_CONTRACT = {"MAX_VIOLATIONS", "MAX_REQUEST_BYTES", "MAX_FRAME_BYTES", "MAX_CONVERSATION_ID_BYTES"}


def test_requests_are_checked_against_limits_of_one_module():
    rooms = [ROOT / "service" / room for room in ("convert", "rpc", "conversations", "messages", "presence")]
    paths = [path.relative_to(ROOT).as_posix() for room in rooms for path in room.rglob("*.py")]
    assert "service/rpc/chat/frames.py" in paths
    limit = re.compile(r"^(?:MAX|MIN|DEFAULT)_\w+ *=", re.MULTILINE)
    assert {path for path in paths if limit.search((ROOT / path).read_text())} == ELSEWHERE


@pytest.mark.parametrize("name", [name for name in vars(limits) if name.isupper() and name not in NOT_IN_THE_CONTRACT])
def test_limit_is_a_number_of_the_contract(name: str):
    value = getattr(limits, name)
    units = {f"{value:,.0f}", f"{value:.0f}"}
    for size, unit in ((1024, "KiB"), (60, "min"), (3600, "h")):
        if value % size == 0:
            units.add(f"{value / size:.0f} {unit}")
    assert any(re.search(rf"(?<![\d,]){re.escape(text)}(?!,?\d)", CONTRACT) for text in units), value
