"""The settings: one tree. `service.loading` fills it from the file, the environment and flags.

Only names, limits, defaults and descriptions; `parley config --example` prints them all.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from service.host_port import split_listen


def _check_scheme(*schemes: str) -> AfterValidator:
    def check(url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return url

    return AfterValidator(check)


def _check_listen(value: str) -> str:
    split_listen(value)
    return value


def _check_optional_listen(value: str) -> str:
    return _check_listen(value) if value else value


class _Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class DatabaseSettings(_Node):
    """PostgreSQL."""

    url: Annotated[SecretStr, _check_scheme("postgresql", "postgres")] | None = Field(
        default=None,
        description="PostgreSQL URL, of one host or several. Not set: an embedded one in the data directory.",
    )
    db_schema: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] = Field(
        default="parley", alias="schema", description="Schema that holds Parley's tables."
    )
    pool_size: Annotated[int, Field(ge=2, le=100)] = Field(
        default=8, description="Connections for reads and rare writes, per worker."
    )
    lanes: Annotated[int, Field(ge=1, le=32)] = Field(
        default=1,
        description="Write lanes per worker; each holds a connection and has one batch in flight. More make smaller"
        " batches, which cost more a message; they help where commits take long, with a distant standby for instance.",
    )
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = Field(default=5.0, description="Limit of one statement.")


class RedisSettings(_Node):
    """Redis or Valkey."""

    url: Annotated[SecretStr, _check_scheme("redis", "rediss", "unix")] | None = Field(
        default=None,
        description="redis://, rediss:// or unix:// URL. Not set: an embedded Valkey in the data directory.",
    )


class TlsSettings(_Node):
    """Transport security."""

    certificate_file: Path | None = Field(default=None, description="PEM chain. Set both files to serve TLS.")
    key_file: Path | None = Field(default=None, description="PEM private key.")
    allow_plaintext: bool = Field(
        default=False, description="Serve without TLS beyond loopback, for example behind a proxy that ends TLS."
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("set certificate_file and key_file both, or none")
        return self


class AuthSettings(_Node):
    """Tokens and passwords."""

    keys_file: Path | None = Field(
        default=None,
        description="JWKS file of the signing keys, the newest last. Not set: generated in the data directory.",
    )
    issuer: str = Field(default="parley", description="`iss` of the tokens.")
    audience: str = Field(default="parley", description="`aud` of the tokens.")
    access_token_seconds: Annotated[int, Field(ge=5, le=86_400)] = Field(
        default=900, description="Life of an access token."
    )
    refresh_token_seconds: Annotated[int, Field(ge=60, le=31_536_000)] = Field(
        default=2_592_000, description="Life of a refresh token."
    )
    registration: Literal["open", "closed"] = Field(default="open", description="Whether Register makes accounts.")
    attempts_per_minute: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=20, description="Password attempts on one account, per worker, before RATE_LIMITED."
    )
    attempts_per_minute_per_address: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1200,
        description="Password attempts and registrations from one address, per worker, before RATE_LIMITED.",
    )
    password_threads: Annotated[int, Field(ge=1, le=32)] = Field(default=2, description="Threads that hash passwords.")
    password_queue: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=200, description="Hashings that may wait; more are refused with OVERLOADED."
    )


class LimitSettings(_Node):
    """What one client may take."""

    max_streams_per_user: Annotated[int, Field(ge=1)] = Field(
        default=250, description="Open streams of a user, per worker."
    )
    max_streams: Annotated[int, Field(ge=1)] = Field(default=20_000, description="Open streams, per worker.")
    max_members: Annotated[int, Field(ge=2)] = Field(default=20_000, description="Members of a group.")
    max_devices: Annotated[int, Field(ge=1)] = Field(default=100, description="Devices of a user that keep positions.")
    max_queued_messages: Annotated[int, Field(ge=2000)] = Field(
        default=20_000,
        description="Messages that wait to be stored, per worker, a quarter of one sender; "
        "more are refused with OVERLOADED.",
    )


class RetrySettings(_Node):
    """Messages of devices that acknowledge each one alone (docs/manual-acks.md)."""

    first_delay_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=0.1, description="Wait after the first failed attempt to deliver; each further one is twice as long."
    )
    max_delay_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(default=10.0, description="The longest wait.")
    max_attempts: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="Attempts to deliver a message before it is a dead letter."
    )
    ack_deadline_seconds: Annotated[float, Field(ge=0.05, le=3600)] = Field(
        default=30.0, description="Time for the ack of a message, unless the stream's hello says another."
    )


class MetricsSettings(_Node):
    """Metrics for Prometheus."""

    listen: Annotated[str, AfterValidator(_check_optional_listen)] = Field(
        default="",
        description="host:port that answers GET /metrics for all workers; port 0 takes any free one. Empty: off.",
    )


class LogSettings(_Node):
    """Logs."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is written."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal, else JSON."
    )


class Settings(_Node):
    """All settings."""

    listen: Annotated[str, AfterValidator(_check_listen)] = Field(
        default="127.0.0.1:50051", description="host:port to serve on; port 0 takes any free one."
    )
    data_dir: Path = Field(default=Path(".parley"), description="Embedded databases, keys, logs.")
    workers: Annotated[int, Field(ge=1, le=64)] = Field(default=1, description="Worker processes on the one port.")
    reflection: Literal["auto", "on", "off"] = Field(
        default="auto", description="Server reflection; auto: on loopback only."
    )
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    tls: TlsSettings = TlsSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    retry: RetrySettings = RetrySettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
