"""The tree of settings: the one place that declares names, types, limits, defaults and descriptions.

`parley config --example` prints all of them. The tree is made of plain dataclasses, since workers load it and must not
load pydantic. `validate.py` derives the model that checks values, in the process that prepares the start and then ends.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from service.settings.host_port import split_listen
from storage.postgres.connections.target import check_postgres_url
from storage.redis.urls import check_redis_url


class Secret:
    """A value that no repr and no log shows; `reveal` returns it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Returns the value in clear."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


def _setting(default: Any, description: str, **rules: Any) -> Any:
    """Declares a setting.

    Args:
        rules: as pydantic's `Field` takes them; `check` is a function that raises ValueError for what is not allowed.
    """
    return field(default=default, metadata={"description": description, **rules})


def _check_optional_listen(value: str) -> None:
    if value:
        split_listen(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """PostgreSQL."""

    url: Secret | None = _setting(
        None,
        "PostgreSQL URL, of one host or several. Not set: an embedded one in the data directory.",
        check=check_postgres_url,
    )
    db_schema: str = _setting(
        "parley", "Schema that holds Parley's tables.", alias="schema", pattern=r"^[a-z_][a-z0-9_]{0,62}$"
    )
    pool_size: int = _setting(8, "Connections for reads and rare writes, per worker.", ge=2, le=100)
    lanes: int = _setting(
        1,
        "Write lanes per worker; each holds a connection and has one batch in flight. More make smaller"
        " batches, which cost more a message; they help where commits take long, with a distant standby for instance.",
        ge=1,
        le=32,
    )
    timeout_seconds: float = _setting(5.0, "Limit of one statement.", gt=0, le=60)
    allow_weak_durability: bool = _setting(
        False,
        "Serve on a database that can lose what it acknowledged: fsync or full_page_writes off, or synchronous_commit"
        " off (or local, with synchronous standbys) for the role.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings:
    """Redis or Valkey."""

    url: Secret | None = _setting(
        None,
        "redis://, rediss:// or unix:// URL; redis+sentinel:// and redis+cluster:// with several hosts. Not set: an"
        " embedded Valkey in the data directory.",
        check=check_redis_url,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """Transport security."""

    certificate_file: Path | None = _setting(None, "PEM chain. Set both files to serve TLS.")
    key_file: Path | None = _setting(None, "PEM private key.")
    allow_plaintext: bool = _setting(
        False, "Serve without TLS beyond loopback, for example behind a proxy that ends TLS."
    )

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("set certificate_file and key_file both, or none")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """Tokens and passwords."""

    keys_file: Path | None = _setting(
        None, "JWKS file of the signing keys, the newest last. Not set: generated in the data directory."
    )
    issuer: str = _setting("parley", "`iss` of the tokens.")
    audience: str = _setting("parley", "`aud` of the tokens.")
    access_token_seconds: int = _setting(900, "Life of an access token.", ge=5, le=86_400)
    refresh_token_seconds: int = _setting(2_592_000, "Life of a refresh token.", ge=60, le=31_536_000)
    registration: Literal["open", "closed"] = _setting("open", "Whether Register makes accounts.")
    attempts_per_minute: int = _setting(
        20, "Password attempts on one account, per worker, before RATE_LIMITED.", ge=1, le=100_000
    )
    attempts_per_minute_per_address: int = _setting(
        1200,
        "Password attempts and registrations from one address, per worker, before RATE_LIMITED.",
        ge=1,
        le=1_000_000,
    )
    password_threads: int = _setting(2, "Threads that hash passwords.", ge=1, le=32)
    password_queue: int = _setting(200, "Hashings that may wait; more are refused with OVERLOADED.", ge=1, le=10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """What one client may take."""

    max_streams_per_user: int = _setting(250, "Open streams of a user, per worker.", ge=1)
    max_streams: int = _setting(20_000, "Open streams, per worker.", ge=1)
    max_members: int = _setting(20_000, "Members of a group.", ge=2)
    max_devices: int = _setting(100, "Devices of a user that keep positions.", ge=1)
    max_queued_messages: int = _setting(
        20_000,
        "Messages that wait to be stored, per worker, a quarter of one sender; more are refused with OVERLOADED.",
        ge=2000,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """Messages of devices that acknowledge each one alone (docs/manual-acks.md)."""

    first_delay_seconds: float = _setting(
        0.1, "Wait after the first failed attempt to deliver; each further one is twice as long.", ge=0, le=3600
    )
    max_delay_seconds: float = _setting(10.0, "The longest wait.", ge=0, le=3600)
    max_attempts: int = _setting(5, "Attempts to deliver a message before it is a dead letter.", ge=1, le=1000)
    ack_deadline_seconds: float = _setting(
        30.0, "Time for the ack of a message, unless the stream's hello says another.", ge=0.05, le=3600
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Metrics for Prometheus."""

    listen: str = _setting(
        "",
        "host:port that answers GET /metrics for all workers; port 0 takes any free one. 0.0.0.0 is IPv4"
        " alone, [::] both. Empty: off.",
        check=_check_optional_listen,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownSettings:
    """How the server ends after SIGTERM."""

    delay_seconds: float | None = _setting(
        None,
        "How long it serves on after it says NOT_SERVING, so that balancers leave first. Not set: 5 where other"
        " machines reach it, else 0. Ctrl-C does not wait.",
        ge=0,
        le=3600,
    )
    drain_seconds: float = _setting(8.0, "How long calls and streams may then take to end.", ge=1, le=3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Logs."""

    level: Literal["debug", "info", "warning", "error"] = _setting("info", "Lowest level that is written.")
    format: Literal["auto", "console", "json"] = _setting("auto", "auto: console on a terminal, else JSON.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings."""

    listen: str = _setting(
        "127.0.0.1:50051",
        "host:port to serve on; port 0 takes any free one. 0.0.0.0 and [::] take both IPv4 and IPv6.",
        check=split_listen,
    )
    data_dir: Path = _setting(Path(".parley"), "Embedded databases, keys, logs.")
    workers: int = _setting(1, "Worker processes on the one port.", ge=1, le=64)
    reflection: Literal["auto", "on", "off"] = _setting("auto", "Server reflection; auto: on loopback only.")
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    tls: TlsSettings = TlsSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    retry: RetrySettings = RetrySettings()
    metrics: MetricsSettings = MetricsSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    log: LogSettings = LogSettings()
