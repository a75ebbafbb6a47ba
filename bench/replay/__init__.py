"""Replays IRC logs as real chats and compares what everybody received with the file. See docs/replay.md."""
