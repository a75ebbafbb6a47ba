"""The steps of a scenario that drive a language's session: the file that people copy, over all its streams."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from conformance import messages
from conformance.operator import PASSWORD
from conformance.runner import Runner, RunnerFailed
from conformance.scenario import Step

_WAIT_MS = 30_000
# For what nobody expects after the last step.
_LAST_MS = 100
_CLOSE_MS = 10_000


class SessionFailed(Exception):
    """The session did something else than the step says; the text says what."""


class Sessions:
    """The sessions of one play.

    Args:
        fill: fills placeholders in.
        compare: raises for a difference between what is expected and what came.
        compare_error: the same for an error.
        target: gives host:port of a server.
    """

    def __init__(
        self,
        runner: Runner,
        fill: Callable[[Any], Any],
        compare: Callable[[Any, Any], None],
        compare_error: Callable[[Mapping[str, Any], Any, Any], None],
        target: Callable[[str], str],
    ) -> None:
        self._runner = runner
        self._fill = fill
        self._compare = compare
        self._compare_error = compare_error
        self._target = target
        self._open: list[str] = []
        self.acts: Mapping[str, Callable[[Step], Awaitable[None]]] = {
            "session_open": self._do_open,
            "session_send": self._send,
            "session_sent": self._sent,
            "session_next": self._next,
            "session_ack": self._ack,
            "session_end": self._end,
            "session_close": self._close,
        }

    async def expect_no_more(self) -> None:
        """Checks that nothing came that no step took.

        Raises:
            SessionFailed: something did.
        """
        for name in self._open:
            answer = await self._ask("session_next", name, timeout_ms=_LAST_MS)
            if answer != {"nothing": True}:
                raise SessionFailed(f"at the end, session {name}: {str(answer)[:300]} came, and nothing was said of it")

    async def close(self) -> None:
        """Ends those that are still open, at once."""
        with contextlib.suppress(RunnerFailed):
            for name in self._open:
                await self._ask("session_close", name, timeout_ms=0)

    async def _do_open(self, step: Step) -> None:
        name = _name(step)
        answer = await self._ask(
            "session_open",
            name,
            target=self._target(step.options.get("server", "wire")),
            username=self._fill(step.subject),
            password=self._fill(step.options.get("password", PASSWORD)),
            device_id=self._fill(step.options.get("device_id", "device")),
            heartbeat_ms=step.options.get("heartbeat_ms", 10_000),
        )
        if "error" in step.options:
            self._compare_error(step.options["error"], answer.get("error"), answer)
        elif answer != {"opened": True}:
            raise SessionFailed(f"was not opened: {str(answer)[:300]}")
        else:
            self._open.append(name)

    async def _send(self, step: Step) -> None:
        ticket = step.options.get("ticket", "send")
        await self._expect({"sending": True}, "session_send", _name(step), ticket=ticket, **self._fill(step.subject))

    async def _sent(self, step: Step) -> None:
        ticket, limit_ms = step.options.get("ticket", "send"), step.options.get("within_ms", _WAIT_MS)
        answer = await self._ask("session_sent", _name(step), ticket=ticket, timeout_ms=limit_ms)
        if "error" in step.options:
            self._compare_error(step.options["error"], answer.get("error"), answer)
        elif "accepted" not in answer:
            raise SessionFailed(f"the send has no such outcome: {str(answer)[:300]}")
        else:
            self._compare(step.subject or {}, answer["accepted"])

    async def _next(self, step: Step) -> None:
        name, limit_ms = _name(step), step.options.get("within_ms", _WAIT_MS)
        came: list[dict[str, Any]] = []
        for _ in step.subject:
            answer = await self._ask("session_next", name, timeout_ms=limit_ms)
            if not {"message", "reset"} & set(answer):
                raise SessionFailed(f"only {str(came)[:600]} came, then {str(answer)[:300]}")
            came.append(messages.to_entry(answer))
        self._compare(step.subject, came)

    async def _ack(self, step: Step) -> None:
        await self._expect({"acked": True}, "session_ack", _name(step), **self._fill(step.subject))

    async def _end(self, step: Step) -> None:
        """What came before is given first, so nothing else may come."""
        name, limit_ms = _name(step), step.options.get("within_ms", _WAIT_MS)
        answer = await self._ask("session_next", name, timeout_ms=limit_ms)
        self._compare_error(step.subject["error"], answer.get("end"), answer)
        self._open.remove(name)

    async def _close(self, step: Step) -> None:
        name = _name(step)
        await self._expect({"closed": True}, "session_close", name, timeout_ms=_CLOSE_MS)
        self._open.remove(name)

    async def _expect(self, expected: dict[str, Any], do: str, name: str, **options: Any) -> None:
        answer = await self._ask(do, name, **options)
        if answer != expected:
            raise SessionFailed(f"it answered {str(answer)[:300]}, not {expected}")

    async def _ask(self, do: str, name: str, **options: Any) -> dict[str, Any]:
        limit_seconds = 30 + options.get("timeout_ms", 30_000) / 1000
        return await self._runner.ask({"do": do, "session": name, **options}, limit_seconds=limit_seconds)


def _name(step: Step) -> str:
    return str(step.options.get("session", "session"))
