"""What a log means for a group: who is in from the start, and then step by step who speaks, joins and leaves. Pure.

Who is first seen joining (or appears as the new name of a nickname change) is added then; everybody else is in from
the start. Joining means being added by the host; leaving means removing oneself; being kicked, being removed by the
host. A nickname change is the old name leaving and the new one being added, since each nickname is a user.

Logs do not show everything: people vanish without a line and join again, or speak without having joined. A change that
finds its user in (or out) already is no step; who speaks while out is added first. Both are counted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bench.replay.irc import SPOKEN, Kind, Line, Log
from bench.replay.names import HOST


@dataclass(frozen=True, slots=True)
class Say:
    """Somebody speaks. `kind` is the irc.Kind's value; `number` and `minute` are the line's."""

    number: int
    minute: int
    sender: str
    kind: str
    text: str

    @property
    def request_id(self) -> str:
        """Unique in the group: the line's number."""
        return f"line-{self.number}"


@dataclass(frozen=True, slots=True)
class Join:
    """The host adds a user."""

    number: int
    minute: int
    username: str


@dataclass(frozen=True, slots=True)
class Leave:
    """`actor` takes a user out: the user, or the host."""

    number: int
    minute: int
    username: str
    actor: str


Step = Say | Join | Leave


@dataclass(slots=True)
class Counts:
    """What was found in a file, and what was left out."""

    messages: int = 0
    empty: int = 0
    other: int = 0
    changes: int = 0
    changes_without_effect: int = 0
    unseen_joins: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A file as a group.

    Attributes:
        title: the group's.
        initial: user names that are in from the start, sorted; neither the host nor the listener.
        steps: in the order of the file.
        speakers: user names that speak, sorted.
        counts: what was found.
    """

    title: str
    initial: tuple[str, ...]
    steps: tuple[Step, ...]
    speakers: tuple[str, ...]
    counts: Counts

    @property
    def usernames(self) -> set[str]:
        """Everybody who is in at any time."""
        return set(self.initial) | {step.username for step in self.steps if isinstance(step, Join)}


def nicknames_of(log: Log) -> set[str]:
    """Returns every nickname of a log."""
    new = {line.text for line in log.lines if line.kind is Kind.RENAMED}
    return new | {line.nickname for line in log.lines}


def make_plan(title: str, log: Log, names: Mapping[str, str]) -> Plan:
    """Returns the steps that follow the file."""
    present = _initial(log.lines)
    maker = _Maker(names=names, present=set(present), counts=_counts(log))
    for line in log.lines:
        maker.add(line)
    return _plan(title, {names[nickname] for nickname in present}, maker.steps, maker.counts)


def make_unordered_plan(title: str, log: Log, names: Mapping[str, str]) -> Plan:
    """Returns a plan in which all who speak are in from the start and nobody comes or goes.

    Sends that do not wait for each other have no place in an order, so a change could not be between the same two.
    """
    counts = _counts(log)
    steps = [_say(line, names) for line in log.lines if line.kind in SPOKEN]
    counts.changes_without_effect = sum(line.kind not in SPOKEN for line in log.lines)
    return _plan(title, {step.sender for step in steps}, steps, counts)


def _plan(title: str, initial: set[str], steps: Iterable[Step], counts: Counts) -> Plan:
    done = tuple(steps)
    speakers = {step.sender for step in done if isinstance(step, Say)}
    return Plan(title, tuple(sorted(initial)), done, tuple(sorted(speakers)), counts)


def _counts(log: Log) -> Counts:
    spoken = sum(line.kind in SPOKEN for line in log.lines)
    return Counts(messages=spoken, empty=log.empty_count, other=log.other_count)


def _say(line: Line, names: Mapping[str, str]) -> Say:
    return Say(line.number, line.minute, names[line.nickname], line.kind.value, line.text)


def _initial(lines: Iterable[Line]) -> set[str]:
    """Returns the nicknames whose first appearance is not a coming in."""
    seen: set[str] = set()
    initial: set[str] = set()
    for line in lines:
        if line.nickname not in seen and line.kind is not Kind.JOINED:
            initial.add(line.nickname)
        seen.add(line.nickname)
        if line.kind is Kind.RENAMED:
            seen.add(line.text)
    return initial


@dataclass(slots=True)
class _Maker:
    names: Mapping[str, str]
    present: set[str]
    counts: Counts
    steps: list[Step] = field(default_factory=list)

    def add(self, line: Line) -> None:
        match line.kind:
            case Kind.JOINED:
                self._come(line, line.nickname)
            case Kind.LEFT | Kind.KICKED:
                self._go(line)
            case Kind.RENAMED:
                self._go(line)
                self._come(line, line.text)
            case _:
                if line.nickname not in self.present:
                    self.counts.unseen_joins += 1
                    self._come(line, line.nickname)
                self.steps.append(_say(line, self.names))

    def _come(self, line: Line, nickname: str) -> None:
        if nickname in self.present:
            self.counts.changes_without_effect += 1
            return
        self.present.add(nickname)
        self.counts.changes += 1
        self.steps.append(Join(line.number, line.minute, self.names[nickname]))

    def _go(self, line: Line) -> None:
        if line.nickname not in self.present:
            self.counts.changes_without_effect += 1
            return
        self.present.discard(line.nickname)
        self.counts.changes += 1
        username = self.names[line.nickname]
        actor = HOST if line.kind is Kind.KICKED else username
        self.steps.append(Leave(line.number, line.minute, username, actor))
