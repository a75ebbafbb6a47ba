"""Logging: structlog and the standard library through one handler, set up once per process before grpc is imported.

Every line has a timestamp, a level and an event, the process, and the call's id while a call is being served. Tokens,
passwords and what users wrote never get here by our own calls; the scrubber below is the net under errors of others.
"""

import logging
import re
import sys
from contextvars import ContextVar
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

current_call_id: ContextVar[str] = ContextVar("call_id", default="")
"""The id of the call that this task serves; "" outside of calls. The interceptors set it."""

current_trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The caller's W3C trace id, from its `traceparent`; "" where it sent none. Set with the call's id."""

_MASK = "***"
_SECRET_KEY = re.compile(r"password|secret|token|authorization|refresh|^(text|data|dsn|metadata)$", re.IGNORECASE)
_SECRET_TEXT = (
    re.compile(r"()eyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?"),  # a JWT
    re.compile(r"(bearer\s+)[^\s'\",]+", re.IGNORECASE),
    re.compile(r"(://[^\s:/@]*:)[^\s/]+(?=@)"),  # the password in a URL
    re.compile(r"((?:password|secret|token)['\"]?\s*[=:]\s*['\"]?)[^\s'\",&}]+", re.IGNORECASE),
    # asyncpg quotes the value that does not fit, PostgreSQL the key of a conflict.
    re.compile(r"(invalid input for query argument \$\d+: ).*", re.DOTALL),
    re.compile(r"(Key \([^)]*\)=\().*?(?=\) )"),
)

_is_configured = False


def configure(level_name: str, line_format: str, *, process: str, stream: TextIO | None = None) -> None:
    """Sets logging up, for good.

    Args:
        level_name: the lowest level that is written: debug, info, warning or error.
        line_format: auto, console or json.
        process: "serve", "worker 0", ...; part of every line.
        stream: where lines go; standard error where it is None.

    Raises:
        RuntimeError: it is set up already; doing it again beside a running grpc can deadlock (grpc/grpc#43421).
    """
    global _is_configured  # what it guards is as global
    if _is_configured:
        raise RuntimeError("logging is configured once per process")
    _is_configured = True
    stream = sys.stderr if stream is None else stream
    on_terminal = stream.isatty()
    as_console = line_format == "console" or (line_format == "auto" and on_terminal)
    before, after = _processors(process, as_console=as_console, with_colors=on_terminal)
    structlog.configure(
        # The level is looked at for each line, since it can change: loggers in use keep what they were made of.
        processors=[structlog.stdlib.filter_by_level, *before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=after))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level_name)
    logging.captureWarnings(True)


def set_level(level_name: str) -> None:
    """Sets the lowest level that is written, from now on."""
    level = getattr(logging, level_name.upper())
    logging.getLogger().setLevel(level)
    # Its debug lines say which selector runs; its slow-callback ones are for developers of it.
    logging.getLogger("asyncio").setLevel(max(level, logging.INFO))


def _processors(process: str, *, as_console: bool, with_colors: bool) -> tuple[list[Processor], list[Processor]]:
    """Returns what adds to a line where it is written, and what makes text of it."""

    def add_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    before: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if as_console else "iso", utc=not as_console),
        add_process,
        _add_call_id,
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    last: Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    if as_console:
        last = structlog.dev.ConsoleRenderer(colors=with_colors)
    return before, [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        scrub,
        last,
    ]


def scrub(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Masks what looks like a token, a password or a value that a driver quotes."""
    for key, value in event.items():
        if _SECRET_KEY.search(key) and not isinstance(value, bool | int | float | None):
            event[key] = _MASK
        elif isinstance(value, str):
            event[key] = scrub_text(value)
        elif not isinstance(value, bool | int | float | None):
            event[key] = scrub_text(str(value))
    return event


def scrub_text(text: str) -> str:
    """Returns the text with what looks secret masked."""
    for pattern in _SECRET_TEXT:
        text = pattern.sub(rf"\g<1>{_MASK}", text)
    return text


def to_line(error: BaseException) -> str:
    """Returns what an exception says as one line of at most 300 characters, with what looks secret masked."""
    text = scrub_text(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _add_call_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if call_id := current_call_id.get():
        event.setdefault("call_id", call_id)
    if trace_id := current_trace_id.get():
        event.setdefault("trace_id", trace_id)
    return event
