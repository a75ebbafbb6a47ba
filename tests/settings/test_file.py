"""The settings file as people write it: YAML's traps, what editors leave in a file, and what can't be meant."""

import codecs
from pathlib import Path

import pytest

from service.settings.load import ConfigError, load
from service.settings.tree import Settings


def read(directory: Path, content: str | bytes) -> Settings:
    """Loads a file of this content and nothing else."""
    path = directory / "parley.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load(config_file=path, environment={}).settings


def refusal(directory: Path, content: str | bytes) -> str:
    """Returns what is said of a file."""
    with pytest.raises(ConfigError) as error:
        read(directory, content)
    return str(error.value).replace(str(directory / "parley.yaml"), "FILE")


ON = ["on", "On", "ON", "yes", "true", "True", "TRUE", "'on'", '"yes"', "'true'", "1"]
OFF = ["off", "Off", "no", "No", "false", "FALSE", "'off'", '"no"', "'false'", "0"]


@pytest.mark.parametrize(("word", "meant"), [*((word, True) for word in ON), *((word, False) for word in OFF)])
def test_words_for_on_and_off_mean_it_everywhere(tmp_path: Path, word: str, meant: bool) -> None:
    settings = read(tmp_path, f"reflection: {word}\ntls:\n  allow_plaintext: {word}\n")
    assert settings.reflection == ("on" if meant else "off")
    assert settings.tls.allow_plaintext is meant
    bare = word.strip("'\"")
    variables = load(environment={"PARLEY_REFLECTION": bare, "PARLEY_TLS_ALLOW_PLAINTEXT": word}).settings
    assert (variables.reflection, variables.tls.allow_plaintext) == (settings.reflection, meant)


def test_choices_are_taken_in_any_case(tmp_path: Path) -> None:
    settings = read(
        tmp_path, "log:\n  level: WARNING\n  format: Json\nauth:\n  registration: Closed\nreflection: Auto\n"
    )
    assert (settings.log.level, settings.log.format) == ("warning", "json")
    assert (settings.auth.registration, settings.reflection) == ("closed", "auto")
    assert "'on' is not allowed; it takes one of open, closed" in refusal(tmp_path, "auth:\n  registration: on\n")


@pytest.mark.parametrize(
    "text", ["2026", "010", "0x10", "1e3", "22:22", "2026-01-02", "yes", "off", "1_000", "3.0", ".5"]
)
def test_text_is_what_is_written(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, f"auth:\n  issuer: {text}\n  audience: '{text}'\n").auth.issuer == text


def test_numbers_are_decimal(tmp_path: Path) -> None:
    settings = read(tmp_path, "workers: 010\nauth:\n  access_token_seconds: 1_200\nlimits:\n  max_streams: '500'\n")
    assert (settings.workers, settings.auth.access_token_seconds, settings.limits.max_streams) == (10, 1200, 500)
    assert "'22:22' is not allowed; it takes a whole number" in refusal(
        tmp_path, "auth:\n  access_token_seconds: 22:22\n"
    )
    assert "'true' is not allowed; it takes a whole number" in refusal(tmp_path, "workers: true\n")


@pytest.mark.parametrize("nothing", ["", "~", "null", "NULL", " # 4"])
def test_nothing_is_the_default(tmp_path: Path, nothing: str) -> None:
    assert read(tmp_path, f"workers: {nothing}\nredis:\n  url: {nothing}\nlog:\n") == read(tmp_path, "")


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + b"workers: 3\n",
        "workers: 3\n".encode("utf-16"),
        b"workers: 3\r\nlog:\r\n  level: debug\r\n",
        b"---\nworkers: 3\n...\n",
        b'{"workers": 3, "log": {"level": "info"}}',
        b"? workers\n: 3\n",
        b"workers: &n 3\nlimits:\n  max_streams: *n\n",
        b"log: &log\n  level: debug\nlog.format: json\nworkers: 3\n",
    ],
)
def test_forms_of_a_file_are_taken(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content).workers == 3


def test_groups_can_be_merged(tmp_path: Path) -> None:
    settings = read(tmp_path, "retry: &r\n  max_attempts: 7\n  max_delay_seconds: 9\n")
    assert settings.retry.max_attempts == 7
    merged = read(tmp_path, "limits:\n  <<: {max_streams: 5, max_members: 6}\n  max_members: 8\n")
    assert (merged.limits.max_streams, merged.limits.max_members) == (5, 8)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "workers: 1\nlisten: 127.0.0.1:1\nworkers: 2\n",
            "FILE is not YAML: workers is there twice, in line 1 and line 3",
        ),
        (
            "log:\n  level: info\nworkers: 2\nlog:\n  format: json\n",
            "FILE is not YAML: log is there twice, in line 1 and line 4",
        ),
        ("log:\n  level: info\nlog.level: debug\n", "log.level (file FILE) is there twice"),
        ("listen: [127.0.0.1:1]\n", "listen (file FILE): ['127.0.0.1:1'] is not allowed; it takes text"),
        ("database: postgresql://h\n", "database (file FILE) is not a setting; did you mean database.url?"),
        ('data_dir: ""\n', "data_dir (file FILE): '' is not allowed: it must be a path; leave it out for the default"),
        (
            "tls: {certificate_file: '', key_file: k}\n",
            "tls.certificate_file (file FILE): '' is not allowed: it must be a path; leave it out for the default",
        ),
        ("just words\n", "FILE must have keys and values at its top, for example listen: 127.0.0.1:50051"),
    ],
)
def test_what_can_not_be_meant_is_one_line(tmp_path: Path, content: str, expected: str) -> None:
    assert refusal(tmp_path, content) == expected


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"log:\n\tlevel: info\n", ["line 2", "indent with blanks, not with tabs"]),
        (b"listen: caf\xe9:1\n", ["byte 11", "write it in UTF-8"]),
        (b"workers: 1\x00\n", ["special characters are not allowed"]),
        (b"workers: *n\n", ["undefined alias"]),
        (b"workers: !!python/object:os.system 1\n", ["could not determine a constructor"]),
        (b"a: 1\n---\nb: 2\n", ["single document"]),
        (b"? [a, b]\n: 1\n", []),
    ],
)
def test_what_is_no_yaml_says_where_in_one_line(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    said = refusal(tmp_path, content)
    assert said.startswith("FILE ")
    assert "\n" not in said
    assert [part for part in parts if part not in said] == []
