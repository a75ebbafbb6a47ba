"""The environment as people and orchestrators make it: what is a setting, what is not, and what is around a value."""

from pathlib import Path

import pytest

from service.settings.load import LEAVES, ConfigError, load
from tests.settings.test_load import DEFAULTS


def service_links(name: str) -> dict[str, str]:
    """What Kubernetes makes for a Service of this name with two ports, one of them named."""
    base = name.upper().replace("-", "_")
    links = {
        f"{base}_SERVICE_HOST": "10.96.0.7",
        f"{base}_SERVICE_PORT": "50051",
        f"{base}_SERVICE_PORT_GRPC_WEB": "80",
    }
    links[f"{base}_PORT"] = "tcp://10.96.0.7:50051"
    for port, protocol in ((50051, "tcp"), (53, "udp"), (36412, "sctp")):
        start = f"{base}_PORT_{port}_{protocol.upper()}"
        links[start] = f"{protocol}://10.96.0.7:{port}"
        links |= {f"{start}_PROTO": protocol, f"{start}_PORT": str(port), f"{start}_ADDR": "fd00::7"}
    return links


@pytest.mark.parametrize(
    "name",
    ["parley", "parley-redis", "parley-grpc", "parley-postgres", "parley-metrics", "parley-workers", "parley-listen",
     "parley-database-url", "parley-2-db"],
)  # fmt: skip
def test_variables_that_kubernetes_makes_for_services_named_like_us_are_not_ours(name: str) -> None:
    loaded = load(environment=service_links(name))
    assert (loaded.settings, loaded.origins) == (DEFAULTS, {})


def test_variables_of_a_linked_container_are_not_ours() -> None:
    links = {"PARLEY_REDIS_NAME": "/chat/redis", "PARLEY_REDIS_ENV_REDIS_VERSION": "7.4.1"}
    assert load(environment=links).settings == DEFAULTS


def test_no_setting_has_a_name_that_is_taken_for_a_link() -> None:
    for leaf in LEAVES.values():
        assert not leaf.variable.endswith(("_SERVICE_HOST", "_SERVICE_PORT", "_PORT", "_NAME", "_ADDR", "_PROTO"))


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [
        ("PARLEY_WORKES", "2", "PARLEY_WORKERS"),
        ("PARLEY_METRICS_PORT", "9090", "PARLEY_METRICS_LISTEN"),  # by its value no link
        ("PARLEY_REDIS_HOST", "cache", "PARLEY_REDIS_URL"),
        ("parley_workes", "2", "PARLEY_WORKERS"),
        ("PARLEY_TLS_CERTIFICATE", "/c", "PARLEY_TLS_CERTIFICATE_FILE"),
    ],
)
def test_what_is_misspelt_is_told_with_the_nearest_name(name: str, value: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(environment={name: value})
    assert str(error.value) == (f"the environment variable {name.upper()} is not a setting; did you mean {nearest}?")


@pytest.mark.parametrize("around", ["{}", " {} ", "{}\r", "'{}'", '"{}"', ' "{}" \r\n', "\t{}"])
def test_what_files_of_variables_leave_around_a_value_is_taken_off(around: str) -> None:
    written = {
        "PARLEY_WORKERS": "3", "PARLEY_LISTEN": "[::1]:7", "PARLEY_TLS_ALLOW_PLAINTEXT": "true",
        "PARLEY_REDIS_URL": "redis://cache", "PARLEY_REFLECTION": "on", "PARLEY_DATABASE_TIMEOUT_SECONDS": "2.5",
    }  # fmt: skip
    settings = load(environment={name: around.format(value) for name, value in written.items()}).settings
    assert (settings.workers, settings.listen, settings.tls.allow_plaintext) == (3, "[::1]:7", True)
    assert settings.redis.url is not None
    assert (settings.redis.url.reveal(), settings.reflection) == ("redis://cache", "on")
    assert settings.database.timeout_seconds == 2.5


@pytest.mark.parametrize("nothing", ["", " ", '""', "''", "\r\n"])
def test_what_is_empty_inside_is_not_set(nothing: str) -> None:
    assert load(environment={"PARLEY_DATABASE_URL": nothing, "PARLEY_CONFIG": nothing}).origins == {}


def test_home_is_put_for_a_tilde_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "parley.yaml").write_text("tls:\n  certificate_file: ~/c.pem\n  key_file: '~/k.pem'\n")
    environment = {"PARLEY_CONFIG": "~/parley.yaml", "PARLEY_AUTH_KEYS_FILE": "~/keys.json"}
    settings = load({"data_dir": Path("~/data")}, environment=environment).settings
    assert (settings.tls.certificate_file, settings.tls.key_file) == (tmp_path / "c.pem", tmp_path / "k.pem")
    assert (settings.auth.keys_file, settings.data_dir) == (tmp_path / "keys.json", tmp_path / "data")
    relative = load(environment={"PARLEY_AUTH_KEYS_FILE": "keys.json"}).settings.auth.keys_file
    assert relative == Path("keys.json").absolute()


def test_tilde_without_a_home_is_one_line() -> None:
    with pytest.raises(
        ConfigError, match=r"data_dir \(flag --data-dir\): '~nobody-here/x' is not allowed: there is no home"
    ):
        load({"data_dir": Path("~nobody-here/x")}, environment={})
    with pytest.raises(ConfigError, match="there is no home directory for ~"):
        load(config_file=Path("~nobody-here/parley.yaml"), environment={})
