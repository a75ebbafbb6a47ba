"""The parser of the replay: what each line means, and what is counted and left out."""

from bench.replay.irc import SPOKEN, Kind, decode_log, parse_log


def parse_one(text: str) -> tuple[Kind, str, str]:
    (line,) = parse_log(text).lines
    return line.kind, line.nickname, line.text


def test_message_keeps_its_text_exactly() -> None:
    assert parse_one("[09:14] <ada>  two blanks, <tags> and a tail \n") == (
        Kind.MESSAGE,
        "ada",
        " two blanks, <tags> and a tail ",
    )


def test_text_may_hold_what_splits_lines_elsewhere() -> None:
    assert parse_one("[09:14] <ada> one\u2028two\x0bthree\x85four\rfive") == (
        Kind.MESSAGE,
        "ada",
        "one\u2028two\x0bthree\x85four\rfive",
    )


def test_nicknames_may_hold_blanks_and_brackets() -> None:
    assert parse_one("[09:14] <[ A] b> hi")[1] == "[ A] b"
    assert parse_one("[09:14] <Bob[home] > hi")[1] == "Bob[home]"
    assert parse_one("=== Bob[home]  [n=Bob[h@host.example]  has joined #room") == (Kind.JOINED, "Bob[home]", "")


def test_actions_and_notices_are_spoken() -> None:
    assert parse_one("[09:14]  * ada waves at <bob>") == (Kind.ACTION, "ada", "waves at <bob>")
    assert parse_one(" * ada waves") == (Kind.ACTION, "ada", "waves")
    assert parse_one("[09:14] -bot:#room- hello - all") == (Kind.NOTICE, "bot", "hello - all")
    assert {Kind.MESSAGE, Kind.ACTION, Kind.NOTICE} == SPOKEN


def test_comings_and_goings() -> None:
    assert parse_one("=== ada  has joined #room") == (Kind.JOINED, "ada", "")
    assert parse_one('=== ada  has left #Room ["bye"]') == (Kind.LEFT, "ada", "")
    assert parse_one("=== ada was kicked off #room by bob (bob)") == (Kind.KICKED, "ada", "")
    assert parse_one("=== ada is now known as ada|away") == (Kind.RENAMED, "ada", "ada|away")


def test_unknown_and_empty_lines_are_counted_and_left_out() -> None:
    log = parse_log("[09:14] <ada>\n[09:14] <ada> \n\n=== mode/#room  by bob\n--- Day changed\n[09:15] <ada> hi\n")
    assert [line.number for line in log.lines] == [6]
    assert (log.empty_count, log.other_count) == (2, 3)


def test_minutes_never_fall_and_pass_midnight() -> None:
    log = parse_log(
        "[23:58] <a> 1\n[23:57] <a> late stamp\n=== b  has joined #r\n[00:01] <a> 2\n[13:00] <a> 3\n[00:00] <a> 4"
    )
    day = 24 * 60
    first = 23 * 60 + 58
    assert [line.minute for line in log.lines] == [first, first, first, day + 1, day + 13 * 60, 2 * day]


def test_bytes_that_are_not_utf8_and_nul_are_replaced() -> None:
    assert decode_log(b"a\xffb\0c") == "a\ufffdb\ufffdc"
