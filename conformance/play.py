"""Plays a scenario on a runner: fills in placeholders, gives commands, compares. Operators' acts: `operator.py`."""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from conformance import messages
from conformance.matching import differences
from conformance.operator import Operator, OperatorFailed
from conformance.runner import Runner, RunnerFailed
from conformance.scenario import Scenario, Step
from conformance.sessions import SessionFailed, Sessions
from conformance.streams import Stream, StreamSilent
from conformance.values import ValueMissing, Values, value_at

_WAIT_MS = 15_000
_SILENCE_MS = 300
# For what nobody expects after the last step: long enough for what the server had written by then.
_LAST_SECONDS = 0.1
# A step's, whatever it waits for: a runner that always has one more frame would never let it end.
_STEP_SECONDS = 120.0
_DONE = {"close": "closed", "cancel": "cancelled"}


class StepFailed(Exception):
    """A step came out differently; the text has the differences."""


class Play:
    """One scenario on one runner.

    Args:
        users: name in the scenario -> real name.
        tokens: real name -> access token.
    """

    def __init__(self, runner: Runner, operator: Operator, users: Mapping[str, str], tokens: Mapping[str, str]) -> None:
        self._runner = runner
        self._operator = operator
        self._tokens = {name: tokens[real] for name, real in users.items()}
        self._values = Values(users)
        self._streams: dict[str, Stream] = {}
        self._acts: dict[str, Callable[[Step], Awaitable[None]]] = {
            "call": self._call,
            "open": self._open,
            "write": self._write,
            "write_newer": self._write,
            "receive": self._receive,
            "silence": self._silence,
            "end": self._end,
            "close": self._close,
            "cancel": self._close,
            "page": self._page,
            "operator": self._operate,
        }
        self._sessions = Sessions(runner, self._values.fill, self._compare, self._compare_error, operator.target)
        self._acts |= self._sessions.acts

    async def run(self, scenario: Scenario) -> None:
        """Plays it to the end.

        Raises:
            StepFailed: a step came out differently; the text begins with its number.
        """
        for step in scenario.steps:
            try:
                async with asyncio.timeout(_STEP_SECONDS):
                    await self._acts[step.kind](step)
            except (
                RunnerFailed,
                SessionFailed,
                StepFailed,
                StreamSilent,
                ValueMissing,
                OperatorFailed,
                messages.NotTheContract,
            ) as error:
                raise StepFailed(f"step {step.number} ({step.kind} {str(step.subject)[:80]}): {error}") from None
            except TimeoutError:
                raise StepFailed(f"step {step.number} ({step.kind} {str(step.subject)[:80]}): not in time") from None
        for stream in self._streams.values():
            await self._expect_no_more(stream)
        try:
            await self._sessions.expect_no_more()
        except (SessionFailed, RunnerFailed) as error:
            raise StepFailed(str(error)) from None

    async def _expect_no_more(self, stream: Stream) -> None:
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                while stream.end is None and await stream.read(self._runner, _LAST_SECONDS):
                    continue
        except TimeoutError:
            raise StepFailed(f"at the end, stream {stream.name}: always has one more frame") from None
        if lines := list(stream.leftovers()):
            raise StepFailed(f"at the end, stream {stream.name}: " + "; ".join(lines))

    async def close(self) -> None:
        """Ends what is still open; a runner that can't is told of by whoever asks it next."""
        await self._sessions.close()
        with contextlib.suppress(RunnerFailed):
            for stream in self._streams.values():
                if stream.end is None:
                    await self._runner.ask({"do": "cancel", "stream": stream.name})

    async def _call(self, step: Step) -> None:
        method = step.subject
        request = messages.request_of(method, self._values.fill(step.options.get("request", {})))
        command = {"do": "call", "method": method, "request": request, **self._address(step)}
        for limit in ("deadline_ms", "cancel_after_ms"):
            if limit in step.options:
                command[limit] = step.options[limit]
        answer = await self._runner.ask(command)
        if "error" in step.options:
            self._compare_error(step.options["error"], answer.get("error"), answer)
            self._save(step, answer["error"])
        else:
            if "response" not in answer:
                raise StepFailed(f"refused: {answer.get('error')}")
            response = messages.to_response(method, answer["response"])
            self._compare(step.options.get("expect", {}), response)
            self._save(step, response)

    async def _open(self, step: Step) -> None:
        name = step.options.get("stream", "stream")
        if name in self._streams and self._streams[name].end is None:
            raise StepFailed(f"the stream {name} is open")
        command = {"do": "open", "stream": name, "method": step.subject, **self._address(step)}
        if step.subject == "Subscribe":
            command["request"] = messages.request_of("Subscribe", self._values.fill(step.options.get("request", {})))
        answer = await self._runner.ask(command)
        if answer.get("opened") is not True:
            raise StepFailed(f"was not opened: {str(answer)[:300]}")
        self._streams[name] = Stream(name)

    async def _write(self, step: Step) -> None:
        command: dict[str, Any] = {"do": step.kind, "stream": self._stream(step).name}
        if step.kind == "write":
            command["frame"] = messages.frame_of(self._values.fill(step.subject))
        else:
            command["correlation_id"] = step.subject
        answer = await self._runner.ask(command)
        if answer.get("written") is not True:
            raise StepFailed(f"the frame could not be written; {self._stream(step).state}")

    async def _receive(self, step: Step) -> None:
        expected = self._values.fill(step.subject)
        if isinstance(wanted := next(iter(expected.values())), dict) and "$until" in wanted:
            await self._receive_until(step, next(iter(expected)), wanted["$until"])
            return
        counts = {name: _length(items) for name, items in expected.items()}
        limit_seconds = step.options.get("within_ms", _WAIT_MS) / 1000
        taken = await self._stream(step).take(self._runner, counts, limit_seconds)
        self._compare(expected, taken)
        wanted, came = step.options.get("frames"), len(set(taken["frames"]))
        if wanted is not None and wanted != came:
            raise StepFailed(f"they came in {came} frames, not {wanted}")
        self._save(step, taken)

    async def _receive_until(self, step: Step, field: str, wanted: Any) -> None:
        """Takes elements of one field until one is as wanted: of what is merged, how many come before is open."""
        limit_seconds = step.options.get("within_ms", _WAIT_MS) / 1000
        async with asyncio.timeout(limit_seconds):
            while list(
                differences(wanted, (await self._stream(step).take(self._runner, {field: 1}, limit_seconds))[field][0])
            ):
                continue

    async def _silence(self, step: Step) -> None:
        stream = self._stream(step)
        counts = dict.fromkeys(step.subject, 0)
        limit_ms = step.options.get("within_ms", _SILENCE_MS)
        while stream.end is None and await stream.read(self._runner, limit_ms / 1000):
            continue
        if found := {
            name: [item for _, item in stream.waiting.get(name, ())] for name in counts if stream.waiting.get(name)
        }:
            raise StepFailed(f"{found} came")
        if stream.end is not None:
            raise StepFailed(stream.state)

    async def _end(self, step: Step) -> None:
        stream = self._stream(step)
        while stream.end is None:
            if not await stream.read(self._runner, _WAIT_MS / 1000):
                raise StepFailed("the stream is open")
        if step.subject == "OK":
            self._compare({"code": "OK"}, stream.end)
        else:
            self._compare_error(step.subject["error"], stream.end, stream.end)
        if lines := list(stream.leftovers()):
            raise StepFailed("; ".join(lines))

    async def _close(self, step: Step) -> None:
        answer = await self._runner.ask({"do": step.kind, "stream": self._stream(step).name})
        if answer.get(_DONE[step.kind]) is not True:
            raise StepFailed(f"was not {_DONE[step.kind]}: {str(answer)[:300]}")

    async def _page(self, step: Step) -> None:
        request = messages.request_of("Pull", self._values.fill(step.subject))
        answer = await self._runner.ask({"do": "page", "request": request, **self._address(step)})
        if "error" in step.options:
            self._compare_error(step.options["error"], answer.get("error"), answer)
        else:
            expected = {key: step.options[key] for key in ("seqs", "next_cursor") if key in step.options}
            self._compare(self._values.fill(expected), answer)

    async def _operate(self, step: Step) -> None:
        saved = await self._operator.act(step.subject, self._values.fill(dict(step.options)))
        if "save" in step.options:
            self._values.save(step.options["save"], saved)

    def _address(self, step: Step) -> dict[str, Any]:
        address = {"target": self._operator.target(step.options.get("server", "main"))}
        if "as" in step.options:
            who = step.options["as"]
            # A user's token, else one that was saved, or a text that is none.
            address["token"] = self._tokens[who] if who in self._tokens else self._values.fill(who)
        return address

    def _stream(self, step: Step) -> Stream:
        return self._streams[step.options.get("stream", "stream")]

    def _compare(self, expected: Any, actual: Any) -> None:
        if lines := list(differences(self._values.fill(expected), actual)):
            raise StepFailed("; ".join(lines))

    def _compare_error(self, expected: Mapping[str, Any], actual: Any, answer: Any) -> None:
        """An error is compared, and its `log` must tell a developer what its message says."""
        if actual is None:
            raise StepFailed(f"was not refused: {str(answer)[:300]}")
        self._compare(dict(expected), actual)
        message = actual.get("message", "")
        if "reason" in actual and not (message and _bare(message) in _bare(actual.get("log", ""))):
            raise StepFailed(f"the text for a log has not the message: {actual.get('log')!r}, {message!r}")

    def _save(self, step: Step, answer: Any) -> None:
        for name, path in step.options.get("save", {}).items():
            self._values.save(name, value_at(answer, path))


def _length(items: Any) -> int:
    if isinstance(items, dict) and "$count" in items:
        return int(items["$count"])
    return len(items)


def _bare(text: str) -> str:
    """A text without what languages write differently: escapes and quotes."""
    text = re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)
    return text.translate(str.maketrans("", "", "\\'\""))
