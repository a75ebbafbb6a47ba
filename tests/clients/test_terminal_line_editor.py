"""The line that is being typed."""

from hypothesis import given
from hypothesis import strategies as st
from terminal_chat.line_editor import LineEditor, Signal, Submitted


def typed(*pieces: str) -> LineEditor:
    editor = LineEditor()
    for piece in pieces:
        editor.feed(piece)
    return editor


def test_enter_gives_the_line() -> None:
    assert LineEditor().feed("hé 日\r")[-1] == Submitted("hé 日")
    assert LineEditor().feed("a\nb\n") == [Signal.EDITED, Submitted("a"), Signal.EDITED, Submitted("b")]


def test_a_paste_is_one_line_with_its_line_ends_and_only_enter_sends_it() -> None:
    editor = LineEditor()
    assert editor.feed("so: \x1b[200~one\r\ntwo\rthree\n\tfour\x1b[201~")[-1] is Signal.EDITED
    assert editor.text == "so: one\ntwo\nthree\n\tfour"
    assert editor.feed("\r") == [Submitted("so: one\ntwo\nthree\n\tfour")]


def test_the_last_line_end_of_a_paste_is_left_out() -> None:
    assert typed("\x1b[200~one\rtwo\r\x1b[201~").text == "one\ntwo"


def test_nothing_in_a_paste_is_a_command() -> None:
    editor = LineEditor()
    assert editor.feed("\x1b[200~a\x03\x04\x15\x1b[31mb\x1b[201~") == [Signal.EDITED]
    assert editor.text == "ab"


def test_a_paste_that_no_message_takes_is_refused_whole() -> None:
    editor = typed("kept")
    assert editor.feed("\x1b[200~" + "x" * 16_000 + "\x1b[201~") == [Signal.TOO_LONG]
    assert editor.text == "kept"


def test_keys_move_and_cut() -> None:
    assert typed("abc", "\x1b[D", "\x7f").text == "ac"
    assert typed("abc", "\x1b[H", "\x1b[3~").text == "bc"
    assert typed("one two", "\x17").text == "one"
    assert typed("one two", "\x15").text == ""
    assert typed("abc", "\x01", "X").text == "Xabc"


def test_rubout_takes_a_letter_with_its_marks() -> None:
    assert typed("ae\u0301", "\x7f").text == "a"
    assert typed("a👍\ufe0f", "\x7f").text == "a"


def test_lines_before_come_back() -> None:
    editor = typed("first\n", "second\n", "draft")
    editor.feed("\x1b[A")
    assert editor.text == "second"
    editor.feed("\x1b[A\x1b[A")
    assert editor.text == "first"
    editor.feed("\x1b[B\x1b[B")
    assert editor.text == "draft"


def test_end_of_input_leaves_only_on_an_empty_line() -> None:
    assert LineEditor().feed("\x04") == [Signal.LEAVE]
    assert Signal.LEAVE not in LineEditor().feed("a\x04")


def test_unknown_keys_leave_no_trace() -> None:
    assert typed("a", "\x1b[15~", "\x1bOP", "\x1bx", "\x1b[1;5C", "b").text == "ab"


@given(st.text(max_size=30), st.integers(1, 7))
def test_pieces_of_any_size_give_the_same(text: str, size: int) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    whole, cut = typed(text), typed(*pieces)
    assert (whole.text, whole.cursor) == (cut.text, cut.cursor)


@given(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("\x1b[ABCD\x7f\x01\x05")), max_size=60))
def test_cursor_stays_in_the_line(text: str) -> None:
    editor = typed(text)
    assert 0 <= editor.cursor <= len(editor.text)
    assert not any(character < " " for character in editor.text)
