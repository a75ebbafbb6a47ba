"""Where settings come from, who wins, and what a mistake is told."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from service.settings import render
from service.settings.handoff import to_plain, to_settings
from service.settings.host_port import is_loopback, split_listen
from service.settings.load import GROUPS, LEAVES, ConfigError, load, value_of
from service.settings.tree import Settings
from storage.urls import mask_url

DEFAULTS = replace(Settings(), data_dir=Path(".parley").absolute())


def write(directory: Path, text: str) -> Path:
    """Writes a configuration file."""
    path = directory / "parley.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistake(
    directory: Path, text: str = "", environment: dict[str, str] | None = None, flags: dict[str, object] | None = None
) -> str:
    """Returns what the loading says, with the file's name shortened."""
    path = write(directory, text)
    with pytest.raises(ConfigError) as error:
        load(flags, config_file=path, environment=environment or {})
    return str(error.value).replace(str(path), "FILE")


def test_defaults_are_below_the_file_that_below_the_environment_that_below_flags(tmp_path: Path) -> None:
    path = write(tmp_path, "listen: 127.0.0.1:1\nworkers: 2\ndatabase:\n  lanes: 3\n")
    environment = {"PARLEY_CONFIG": str(path), "PARLEY_LISTEN": "127.0.0.1:2", "PARLEY_WORKERS": "4"}
    loaded = load({"listen": "127.0.0.1:3", "data_dir": None}, environment=environment)
    assert (loaded.settings.listen, loaded.settings.workers, loaded.settings.database.lanes) == ("127.0.0.1:3", 4, 3)
    assert loaded.settings.data_dir == Path(".parley").absolute()
    assert loaded.origins == {
        "listen": "flag --listen",
        "workers": "variable PARLEY_WORKERS",
        "database.lanes": f"file {path}",
    }


def test_every_setting_has_a_variable() -> None:
    variables = {leaf.variable: leaf.key for leaf in LEAVES.values()}
    assert len(variables) == len(LEAVES)
    for variable, key in variables.items():
        if key in {"tls.certificate_file", "tls.key_file"}:
            continue  # they go together
        urls = {
            "database.url": "postgres://h",
            "redis.url": "redis://h",
            "auth.keys_file": "/k",
            "metrics.listen": "[::1]:1",
            "shutdown.delay_seconds": "5",
        }
        text = urls.get(key) or str(value_of(Settings(), key))
        assert load(environment={variable: text}).origins == {key: f"variable {variable}"}


def test_an_empty_variable_is_not_set() -> None:
    loaded = load(environment={"PARLEY_REDIS_URL": "", "PARLEY_CONFIG": "", "PARLEY_WORKERS": ""})
    assert loaded.settings == DEFAULTS
    assert not loaded.origins


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("foo: 1", "foo (file FILE) is not a setting; `parley config --example` lists all"),
        (
            "database:\n  pol_size: 8",
            "database.pol_size (file FILE) is not a setting; did you mean database.pool_size?",
        ),
        ("workers: 99", "workers (file FILE): '99' is not allowed; it takes a whole number from 1 to 64"),
        (
            "log:\n  level: loud",
            "log.level (file FILE): 'loud' is not allowed; it takes one of debug, info, warning, error",
        ),
        (
            "listen: nowhere",
            "listen (file FILE): 'nowhere' is not allowed: it must be host:port, for example 127.0.0.1:50051"
            " or [::1]:50051; [::]:50051 is all addresses",
        ),
        (
            "database:\n  url: mysql://user:hunter2@host",
            "database.url (file FILE): the value is not allowed: it must begin with postgresql:// or postgres://",
        ),
        ("tls:\n  key_file: k.pem", "tls (file FILE): set certificate_file and key_file both, or none"),
        ("database:\n  db_schema: x", "database.db_schema (file FILE) is not a setting; did you mean database.schema?"),
        ("- a", "FILE must have keys and values at its top, for example listen: 127.0.0.1:50051"),
        ("1: 2", "1 (file FILE) is not a setting; `parley config --example` lists all"),
    ],
)
def test_a_mistake_in_the_file_names_key_origin_and_what_is_allowed(tmp_path: Path, text: str, expected: str) -> None:
    assert mistake(tmp_path, text) == expected


def test_a_file_that_is_not_yaml_says_where(tmp_path: Path) -> None:
    said = mistake(tmp_path, "listen: [")
    assert said.startswith("FILE is not YAML")
    assert "line 1" in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_file_that_can_not_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="can't read the configuration file"):
        load(environment={"PARLEY_CONFIG": str(tmp_path / name)})


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        (
            "PARLEY_WORKER",
            "2",
            "the environment variable PARLEY_WORKER is not a setting; did you mean PARLEY_WORKERS?",
        ),
        (
            "PARLEY_DATABASE",
            "{}",
            "the environment variable PARLEY_DATABASE is not a setting; did you mean PARLEY_DATABASE_URL?",
        ),
        (
            "PARLEY_WORKERS",
            "many",
            "workers (variable PARLEY_WORKERS): 'many' is not allowed; it takes a whole number from 1 to 64",
        ),
        (
            "PARLEY_TLS_ALLOW_PLAINTEXT",
            "perhaps",
            "tls.allow_plaintext (variable PARLEY_TLS_ALLOW_PLAINTEXT): 'perhaps' is not allowed;"
            " it takes true or false",
        ),
        (
            "PARLEY_REDIS_URL",
            "http://user:hunter2@host",
            "redis.url (variable PARLEY_REDIS_URL): the value is not allowed: it must begin with redis://"
            " or rediss:// or unix:// or redis+sentinel:// or redis+cluster://",
        ),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    tmp_path: Path, variable: str, value: str, expected: str
) -> None:
    assert mistake(tmp_path, environment={variable: value}) == expected


@pytest.mark.parametrize("url", ["postgresql://u:hun#ter@h/d", "postgresql://u:hun/ter@h/d", "postgresql://u:hun?ter"])
@pytest.mark.parametrize("key", ["database", "redis"])
def test_a_raw_character_in_a_password_is_told_without_it_wherever_it_comes_from(
    tmp_path: Path, url: str, key: str
) -> None:
    url = url if key == "database" else url.replace("postgresql", "rediss")
    from_file = mistake(tmp_path, f"{key}:\n  url: {json.dumps(url)}")
    assert from_file.startswith(f"{key}.url (file FILE): the value is not allowed: it ")
    from_variable = mistake(tmp_path, environment={f"PARLEY_{key.upper()}_URL": url})
    assert from_variable.startswith(f"{key}.url (variable PARLEY_{key.upper()}_URL): the value is not allowed: it ")
    for said in (from_file, from_variable):
        assert "percent-encode the password" in said
        assert "hun" not in said
        assert "\n" not in said


def test_a_path_of_a_working_directory_that_was_removed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match=r"^data_dir: \.parley has no place: the working directory was removed"):
        load(environment={})
    assert load(environment={"PARLEY_DATA_DIR": "/d"}).settings.data_dir == Path("/d")


def test_a_mistake_in_a_flag_names_the_flag_and_each_mistake_has_a_line(tmp_path: Path) -> None:
    said = mistake(tmp_path, "workers: 0", flags={"log.level": "x"})
    assert said.splitlines() == [
        "workers (file FILE): '0' is not allowed; it takes a whole number from 1 to 64",
        "log.level (flag --log-level): 'x' is not allowed; it takes one of debug, info, warning, error",
    ]


def test_the_example_loads_and_changes_nothing_and_has_every_key(tmp_path: Path) -> None:
    example = render.example()
    loaded = load(config_file=write(tmp_path, example), environment={})
    assert loaded.settings == DEFAULTS
    assert set(loaded.origins) == set(LEAVES)
    for leaf in LEAVES.values():
        assert leaf.description
        assert f"# {leaf.description}" in example


def test_an_example_whose_lines_are_all_commented_out_loads(tmp_path: Path) -> None:
    lines = [line if line.rstrip(":") in GROUPS else f"# {line}" for line in render.example().splitlines()]
    assert load(config_file=write(tmp_path, "\n".join(lines)), environment={}).settings == DEFAULTS


def test_what_is_in_force_has_every_key_with_its_origin_and_no_secret() -> None:
    loaded = load(
        environment={
            "PARLEY_DATABASE_URL": "postgresql://parley:hunter2@db/parley?sslpassword=hunter3",
            "PARLEY_REDIS_URL": "redis://:hunter4@cache",
        }
    )
    text = render.in_force(loaded)
    assert not re.search("hunter", text)
    assert '  url: "postgresql://parley:***@db/parley?sslpassword=***"  # variable PARLEY_DATABASE_URL' in text
    assert '  url: "redis://:***@cache"  # variable PARLEY_REDIS_URL' in text
    assert "workers: 1  # default" in text
    tree = yaml.safe_load(text)
    assert {f"{group}.{key}" for group in GROUPS for key in tree[group]} | (set(tree) - set(GROUPS)) == set(LEAVES)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p@ss:w/rd@h/d", "postgresql://***"),
        ("p@ss", "***"),
        ("redis://hunter@h", "redis://***@h"),
        ("redis://u:hunter@h", "redis://u:***@h"),
        ("postgresql://u@/d?host=/run", "postgresql://u@/d?host=/run"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("unix:///run/v.sock?password=x&db=1", "unix:///run/v.sock?password=***&db=1"),
    ],
)
def test_passwords_in_urls_are_masked(url: str, masked: str) -> None:
    assert mask_url(url) == masked


def test_settings_do_not_show_secrets_and_reach_workers_as_they_are() -> None:
    settings = load(environment={"PARLEY_DATABASE_URL": "postgresql://u:hunter2@h"}).settings
    assert "hunter2" not in repr(settings)
    handed = to_plain(settings)
    assert handed["database"]["url"] == "postgresql://u:hunter2@h"
    assert to_settings(json.loads(json.dumps(handed))) == settings


def test_settings_that_an_older_supervisor_hands_over_have_defaults_for_what_it_does_not_know() -> None:
    handed = to_plain(replace(Settings(), workers=3))
    del handed["retry"], handed["limits"]["max_streams"]
    assert to_settings(handed) == replace(Settings(), workers=3)


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:50051", ("::1", 50051)),
        ("chat.example:1", ("chat.example", 1)),
        (":7", ("::", 7)),
        ("*:7", ("::", 7)),
    ],
)
def test_listen_is_split(listen: str, expected: tuple[str, int]) -> None:
    assert split_listen(listen) == expected


@pytest.mark.parametrize(
    "listen",
    [
        *("", "50051", "host", "host:", "host:x", "host:65536", "host:-1", "::1:80", "h:\u0661"),
        *("a..b:1", "\xe4..\xf6:1", f"{'h' * 64}:1"),  # what the resolver can't encode
    ],
)
def test_what_is_not_host_and_port_is_refused(listen: str) -> None:
    with pytest.raises(ValueError, match="must "):
        split_listen(listen)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "chat.example")),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "text",
    [
        "database:\n  url: postgresql://u:hun: ter@h/d",
        "database:\n  url: 'postgresql://u:hunter@h/d",
        'database:\n  url: "postgresql://u:hunter\\q@h/d"',
        "database:\n  url: %hunter@h",
        "database:\n  url: *hunter",
        "database:\n  url: !!hunter x",
        "redis:\n  url: redis://:hunter@h\n url: x",
    ],
)
def test_a_file_that_is_not_yaml_shows_nothing_of_what_is_in_it(tmp_path: Path, text: str) -> None:
    said = mistake(tmp_path, text)
    assert said.startswith("FILE is not YAML: ")
    assert "line " in said
    assert "hun" not in said
