"""What the user does and sees: lines in, commands out; frames in, lines out."""

import asyncio
import time
from collections.abc import Awaitable, Iterable
from typing import Any

from grpc import aio
from parley.v1 import chat_pb2, message_pb2

from terminal_chat.connection import Connection
from terminal_chat.directory import ROLES, Directory
from terminal_chat.errors import LeaveChat, explain, to_refusal
from terminal_chat.inbox import Inbox
from terminal_chat.login import Login
from terminal_chat.room import Room
from terminal_chat.screen import Screen, Signal, Submitted
from terminal_chat.session import Arrived
from terminal_chat.text import describe, to_local_time, to_safe_line

HELP = (
    "  /join NAME          talk to a user, or in a conversation: its title or its id",
    "  /new TITLE [NAME..] make a group with these users; _ in the title stands for a blank",
    "  /add NAME..         put users into this group         /leave  leave it",
    "  /role NAME ROLE     make a member owner, admin, member or reader; a group has an owner, so give it away first",
    "  /list               your conversations                /who    who is here",
    "  /history [COUNT]    older messages                    /help   this",
    "  /quit               leave; so do Ctrl-D and Ctrl-C    //text  a message that begins with /",
)
_HISTORY_COUNT = 20
_LONGEST_HISTORY = 500
_TYPING_EVERY_SECONDS = 4.0
_WATCH_LIMIT = 500
_TICK_SECONDS = 1.0


class Chat:
    """One user at one screen, in one room at a time."""

    def __init__(self, stub: Any, login: Login, screen: Screen) -> None:
        self.connection = Connection(stub, login, self._take_arrival, self._take_change)
        self._directory = Directory(stub, login)
        self._login = login
        self._screen = screen
        self._room: Room | None = None
        self._titles: dict[str, str] = {}
        self._shown: dict[str, set[int]] = {}
        self._inbox = Inbox()
        self._trouble = "connecting"
        self._said_typing_at = 0.0
        self._day = ""

    async def run(self, conversation: str) -> None:
        """Does what the user says, beginning in `conversation`, until the user leaves."""
        self._show([f"* you are {self._login.username}; /help lists the commands"])
        await self._attempt(self._list())
        if conversation:
            await self._attempt(self._join(conversation))
        async with asyncio.TaskGroup() as tasks:
            helpers = [tasks.create_task(self._tick()), tasks.create_task(self._show_arrivals())]
            try:
                await self._take_events()
            finally:
                for helper in helpers:
                    helper.cancel()

    async def _take_events(self) -> None:
        while (event := await self._screen.events.get()) is not Signal.LEAVE:
            if event is Signal.EDITED:
                self._say_typing(is_active=True)
            elif event is Signal.TOO_LONG:
                self._show(["* not pasted: a message takes 16,384 bytes at most"])
            elif isinstance(event, Submitted) and event.line.strip():
                self._say_typing(is_active=False)
                if event.line.strip() == "/quit":
                    return
                await self._attempt(self._do(event.line.rstrip()))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._set_prompt()

    # What the user does.

    async def _do(self, line: str) -> None:
        if not line.startswith("/") or "\n" in line:  # a command is one line
            self._send(line)
            return
        if line.startswith("//"):
            self._send(line[1:])
            return
        command, _, rest = line.partition(" ")
        match command, rest.split(), self._room:
            case "/help", [], _:
                self._show(HELP)
            case "/join", [_, *_], _:
                await self._join(rest.strip())
            case "/new", [title, *names], _:
                made = await self._directory.make(title.replace("_", " "), names)
                await self._join(made.conversation_id)
            case "/list", [], _:
                await self._list()
            case "/add", [_, *_] as names, Room() as room:
                await self._directory.add(room.conversation_id, names)
            case "/role", [name, role], Room() as room if role.lower() in ROLES:
                await self._directory.set_role(room.conversation_id, name, ROLES[role.lower()])
            case "/leave", [], Room() as room:
                await self._directory.leave(room.conversation_id)
                self._room = None
                self._set_prompt()
            case "/who", [], Room() as room:
                await self._show_people(room)
            case "/history", [], Room() as room:
                await self._show_history(room, _HISTORY_COUNT)
            case "/history", [count], Room() as room if count.isdecimal() and 0 < int(count) <= _LONGEST_HISTORY:
                await self._show_history(room, int(count))
            case _, _, None if command in ("/add", "/role", "/leave", "/who", "/history"):
                self._show(["* where? /join somebody first"])
            case _:
                self._show(["* that is not understood; /help lists the commands"])

    def _send(self, text: str) -> None:
        if self._room is None:
            self._show(["* nobody would read that; /join somebody first"])
            return
        self.connection.send(self._room.conversation_id, text)
        if self._trouble:
            self._show([f"* it will be sent when the server is back ({self._trouble})"])

    async def _join(self, name: str) -> None:
        conversation = await self._directory.find(name)
        room = Room(conversation.conversation_id, self._directory.title_of(conversation))
        room.set_members(await self._directory.list_members(room.conversation_id))
        self._titles[room.conversation_id] = room.title
        self._room = room
        self._day = ""
        self._shown.pop(room.conversation_id, None)
        self._show([f"--- {room.title} ---"])
        await self._show_history(room, _HISTORY_COUNT)
        self._watch()
        self._set_prompt()

    async def _list(self) -> None:
        conversations = await self._directory.list_newest()
        for conversation in conversations:
            self._titles[conversation.conversation_id] = self._directory.title_of(conversation)
        lines = [
            f"  {self._titles[each.conversation_id]}" + (f" ({each.unread_count} unread)" if each.unread_count else "")
            for each in conversations
        ]
        self._show(["* your conversations:", *lines] if lines else ["* no conversations yet; /join a user, or /new"])

    async def _show_history(self, room: Room, count: int) -> None:
        is_older = room.oldest_seq > 0
        messages = await self._directory.list_history(room.conversation_id, room.oldest_seq, count)
        if is_older:
            self._day = ""
            self._show([f"--- {len(messages)} older ---" if messages else "--- there is nothing older ---"])
        for message in messages:
            self._show_message(message)
        if messages:
            room.oldest_seq = messages[0].seq
        if is_older:
            self._day = ""
            self._show(["---"])

    async def _show_people(self, room: Room) -> None:
        for presence in await self._directory.list_presences([member.username for member in room.members]):
            room.take_presence(presence)
        self._show(room.list_people())

    def _say_typing(self, *, is_active: bool) -> None:
        now = time.monotonic()
        due = self._said_typing_at + _TYPING_EVERY_SECONDS
        if self._room is None or (now < due if is_active else not self._said_typing_at):
            return
        self._said_typing_at = now if is_active else 0.0
        frame = chat_pb2.TypingFrame(conversation_id=self._room.conversation_id, active=is_active)
        self.connection.say(chat_pb2.ChatRequest(typing=frame))

    def _watch(self) -> None:
        if self._room is not None:
            names = [member.username for member in self._room.members[:_WATCH_LIMIT]]
            self.connection.say(chat_pb2.ChatRequest(watch_presence=chat_pb2.WatchPresence(usernames=names)))

    # What comes.

    def _take_arrival(self, arrived: Arrived) -> None:
        for reset in arrived.resets:
            self._take_reset(reset)
        for message in arrived.messages:
            self._inbox.put(message)
        for request, refusal in arrived.refused:
            self._show([f"* not sent: {to_safe_line(request.text)[:60]} ({refusal.message})"])
        for request, refusal in arrived.postponed:
            self._show([f"* not sent yet: {to_safe_line(request.text)[:60]} ({refusal.message})"], is_dim=True)
        for refusal in arrived.errors:
            self._show([f"* {refusal.message}"])
        self._take_ephemeral(arrived.frame)

    def _take_ephemeral(self, frame: chat_pb2.ChatResponse) -> None:
        room = self._room
        for event in frame.presence:
            line = room.take_presence(event.presence) if room is not None else ""
            if line and event.presence.username != self._login.username:
                self._show([line], is_dim=True)
        for typing in frame.typing:
            if room is not None and typing.conversation_id == room.conversation_id:
                room.take_typing(to_safe_line(typing.username), is_active=typing.active)
        if frame.typing:
            self._set_prompt()

    def _take_reset(self, reset: chat_pb2.Reset) -> None:
        """Forgets what is void; it, or what took its place, comes again."""
        name = reset.conversation_id
        self._inbox.void(name, reset.seq)
        shown = self._shown.get(name, set())
        void_count = sum(seq > reset.seq for seq in shown)
        if void_count:
            self._shown[name] = {seq for seq in shown if seq <= reset.seq}
            title = self._titles.get(name, to_safe_line(name))
            self._show([f"* the server was set back; in {title} the last {void_count} entries are void"])
        if self._room is not None and self._room.conversation_id == name and self._room.oldest_seq > reset.seq:
            self._room.oldest_seq = 0

    def _take_change(self, trouble: str) -> None:
        if trouble and not self._trouble:
            self._show([f"* connection lost: {trouble}; trying again"])
        elif trouble and self._trouble == "connecting":
            self._show([f"* {trouble}; trying again"])
        elif not trouble and self._trouble != "connecting":
            self._show(["* connected again"])
        self._trouble = trouble
        if not trouble:
            self._watch()
        self._set_prompt()

    async def _show_arrivals(self) -> None:
        """Shows what came live, in order; what is needed to show it is asked for first."""
        while True:
            message = await self._inbox.wait_for_first()
            await self._prepare(message)
            if self._inbox.take(message):  # else a reset made it void meanwhile
                self._show_message(message)
                self.connection.note_dealt(message)

    async def _prepare(self, message: message_pb2.Message) -> None:
        if message.conversation_id not in self._titles:
            await self._attempt(self._learn_title(message.conversation_id))
        room = self._room
        if room is None or message.conversation_id != room.conversation_id:
            return
        room.take_typing(message.sender, is_active=False)
        if message.HasField("membership"):
            await self._attempt(self._reload_members(room))
        elif any(member.username not in room.presence for member in room.members):
            self._watch()  # The first message of a direct conversation lets its users see each other.

    async def _learn_title(self, conversation_id: str) -> None:
        self._titles[conversation_id] = to_safe_line(conversation_id)
        self._titles[conversation_id] = self._directory.title_of(await self._directory.get(conversation_id))

    async def _reload_members(self, room: Room) -> None:
        room.set_members(await self._directory.list_members(room.conversation_id))
        self._watch()

    def _show_message(self, message: message_pb2.Message) -> None:
        """Shows an entry, once."""
        shown = self._shown.setdefault(message.conversation_id, set())
        if message.seq in shown:
            return
        shown.add(message.seq)
        room = self._room
        is_here = room is not None and message.conversation_id == room.conversation_id
        lines = describe(message, room.names if room is not None and is_here else {})
        if not is_here:
            lines = [f"[{self._titles.get(message.conversation_id, '?')}] {line}" for line in lines]
        day = f"{to_local_time(message):%A, %d %B %Y}"
        if day != self._day:
            self._day = day
            lines.insert(0, f"--- {day} ---")
        self._show(lines)
        if room is not None and is_here:
            room.oldest_seq = min(room.oldest_seq or message.seq, message.seq)
            self.connection.note_read(message.conversation_id, message.seq)

    # The screen.

    def _show(self, lines: Iterable[str], *, is_dim: bool = False) -> None:
        self._screen.print(lines, is_dim=is_dim)

    def _set_prompt(self) -> None:
        room = self._room
        typing = room.describe_typing() if room is not None else ""
        marks = [mark for mark in ("offline" if self._trouble else "", typing) if mark]
        title = room.title if room is not None else "parley"
        self._screen.set_prompt(f"{title} ({', '.join(marks)})> " if marks else f"{title}> ")

    async def _attempt(self, action: Awaitable[None]) -> None:
        """Awaits what calls the server; a refusal is a line on the screen."""
        try:
            await action
        except aio.AioRpcError as error:
            hint = " /role NAME owner gives it away" if to_refusal(error).reason == "LAST_OWNER" else ""
            self._show([f"* {explain(error)}{hint}"])
        except LeaveChat as reason:  # the stream ends for it, too, and then the program
            self._show([f"* {reason}"])
