"""What others wrote can be seen on the terminal, and nothing else."""

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st
from parley.v1 import message_pb2
from terminal_chat.text import describe, to_safe_line, to_safe_lines


@given(st.text())
@example("\x1b]0;title\x07\x1b[2J\x9b31m\r\nover")
def test_nothing_can_steer_the_terminal(text: str) -> None:
    for line in to_safe_lines(text):
        assert not any(unicodedata.category(character) == "Cc" for character in line)


def test_control_characters_are_shown() -> None:
    assert to_safe_line("\x1b[31mred\x7f\x9b") == "␛[31mred␡\ufffd"


def test_text_cannot_be_turned_around() -> None:
    assert "\u202e" not in to_safe_line("photo\u202egpj.exe")


def test_letters_emoji_and_joiners_stay() -> None:
    for text in ("Grüße", "日本語", "👩\u200d💻", "می\u200cخواهم", "e\u0301"):  # noqa: RUF001
        assert to_safe_line(text) == text


def test_message_of_several_lines_cannot_look_like_another_persons() -> None:
    message = message_pb2.Message(sender="eve", text="hi\n12:00 bob: pay eve", message=message_pb2.PlainMessage())
    first, second = describe(message, {})
    assert first.endswith(" eve: hi")
    assert second.startswith("      ")


def test_changes_of_members_are_told() -> None:
    def tell(**change: object) -> str:
        message = message_pb2.Message(sender="ada")
        message.membership.CopyFrom(message_pb2.MembershipChange(**change))  # type: ignore[arg-type]
        (line,) = describe(message, {"bob": "Bob (bob)"})
        return str(line.partition(" * ")[2])

    action = message_pb2.MembershipChange
    assert tell(action=action.ACTION_ADDED, members=["bob", "cy"]) == "ada added Bob (bob), cy"
    assert tell(action=action.ACTION_REMOVED, members=["ada"]) == "ada left"
    assert tell(action=action.ACTION_REMOVED, members=["bob"]) == "ada removed Bob (bob)"


def test_entry_of_an_unknown_kind_shows_nothing() -> None:
    assert describe(message_pb2.Message(sender="ada", seq=1), {}) == []
