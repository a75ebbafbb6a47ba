"""The scenarios leave out nothing of the contract: each call, each frame, each field of an answer, each reason."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from parley.v1 import chat_pb2, chat_service_pb2, error_pb2

from conformance.languages import CLIENTS, LANGUAGES, ROOT
from conformance.scenario import ScenarioError, load_scenarios

SCENARIOS = load_scenarios()
# No client can bring these about, or not for certain; each has tests of its own in tests/.
NOT_PROVOKED = {
    "UNSPECIFIED",
    "INTERNAL",  # something unforeseen
    "DEADLINE_PASSED",  # the client's own deadline is over before the answer comes
    "SHUTTING_DOWN",  # the stream's end may be lost with the connection
}


def steps_of(kind: str) -> Iterator[Any]:
    for scenario in SCENARIOS:
        for step in scenario.steps:
            if step.kind == kind:
                yield step


def reasons_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reason := value.get("reason"), str):
            yield reason
        for item in value.values():
            yield from reasons_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from reasons_in(item)


def test_every_call_is_made() -> None:
    made = {step.subject for kind in ("call", "open") for step in steps_of(kind)}
    assert made == set(chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"].methods_by_name)


def test_every_call_that_can_be_refused_is_made_with_success_too() -> None:
    made = {step.subject for step in steps_of("call") if "error" not in step.options}
    assert made == {
        method.name
        for method in chat_service_pb2.DESCRIPTOR.services_by_name["ChatService"].methods
        if not method.server_streaming
    }


def test_every_payload_is_written_and_every_field_of_an_answer_is_read() -> None:
    written = {key for step in steps_of("write") for key in step.subject if key != "correlation_id"}
    assert written == {field.name for field in chat_pb2.ChatRequest.DESCRIPTOR.oneofs_by_name["payload"].fields}
    read = {key for step in steps_of("receive") for key in step.subject}
    assert read == {field.name for field in chat_pb2.ChatResponse.DESCRIPTOR.fields}


def test_every_reason_that_a_client_can_provoke_is_provoked() -> None:
    expected = {reason for scenario in SCENARIOS for step in scenario.steps for reason in reasons_of(step)}
    known = {name.removeprefix("ERROR_REASON_") for name in error_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert expected - {"$none"} == known - NOT_PROVOKED


def reasons_of(step: Any) -> Iterator[str]:
    yield from reasons_in(step.options.get("error", {}))
    yield from reasons_in(step.options.get("expect", {}))
    if step.kind in ("receive", "end"):
        yield from reasons_in(step.subject)


@pytest.mark.parametrize("language", [language.name for language in LANGUAGES])
def test_a_client_has_a_page_of_at_most_sixty_lines(language: str) -> None:
    lines = (CLIENTS / language / "README.md").read_text().splitlines()
    assert 0 < len(lines) <= 60


def test_page_of_the_clients_leads_to_each_language() -> None:
    rows = re.findall(
        r"^\| [^|`]+ \| `(\S+)/` \| [^|]+ \| (?:`(\S+)`)? ?\| (?:`(\S+)`)? ?\| \[page\]\((\S+)\) \|$",
        (CLIENTS / "README.md").read_text(),
        re.MULTILINE,
    )
    assert [(folder, session, page) for folder, _, session, page in rows] == [
        (language.name, language.example_file, f"{language.name}/README.md") for language in LANGUAGES
    ]
    for folder, example, session, page in rows:
        for path in (f"{folder}/{example}", f"{folder}/{session}", page):
            assert (CLIENTS / path).exists(), path


def test_all_packages_and_what_installs_them_have_the_servers_version() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    for path, pattern in {
        "python/pyproject.toml": r'^version = "(.+)"$',
        "python-betterproto/pyproject.toml": r'^version = "(.+)"$',
        "go/version.go": r'Version = "(.+)"',
        "examples/services/go.mod": r"parley/clients/go v(\S+)",
        "typescript/package.json": r'"version": "(.+)"',
        "typescript/package-lock.json": r'"name": "parley-client",\s+"version": "(.+)"',
        "java/pom.xml": r"<artifactId>parley-client</artifactId>\s+<version>(.+)</version>",
        "java/README.md": r"`parley:parley-client:(.+?)`",
        "kotlin/README.md": r"`parley:parley-client-kotlin:(.+?)`",
        "kotlin/pom.xml": r"<artifactId>parley-client-kotlin</artifactId>\s+<version>(.+)</version>",
        "rust/Cargo.toml": r'^version = "(.+)"$',
        "rust/README.md": r'tag = "v(.+?)"',
        "cpp/CMakeLists.txt": r"project\(\S+ VERSION (\S+)",
    }.items():
        found = re.search(pattern, (CLIENTS / path).read_text(), re.MULTILINE)
        assert found is not None, path
        assert found[1] == version[1], path


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "about: x\nsteps: []",
        "about: x\nsteps:\n- {call: Send, open: Chat}",
        "about: x\nsteps:\n- {fly: 1}",
        "about: x\nsteps:\n- {call: Send, within_ms: 1}",
        "about: x\nsteps:\n- {call: Send, expect: {}, error: {}}",
    ],
)
def test_a_scenario_that_says_what_no_step_has_is_refused(tmp_path: Any, content: str) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(ScenarioError):
        load_scenarios(tmp_path)
