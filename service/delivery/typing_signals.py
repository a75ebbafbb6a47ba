"""What one stream tells others of its user's typing. Not stored; dropped above a rate, since readers let it lapse."""

from collections.abc import Callable

from service.delivery.fanout import Fanout
from service.delivery.session import Session
from service.domain.errors import ConversationNotFound
from service.domain.token_bucket import Rate, TokenBucket

# Typing frames of a stream that go out; more are dropped without an answer.
_RATE = Rate(burst=10.0, per_second=5.0)


class TypingSignals:
    """The typing frames of one stream.

    Args:
        clock: monotonic seconds.
    """

    __slots__ = ("_bucket", "_fanout", "_session")

    def __init__(self, session: Session, fanout: Fanout, clock: Callable[[], float]) -> None:
        self._session = session
        self._fanout = fanout
        self._bucket = TokenBucket(_RATE, clock)

    def publish(self, conversation_id: str, *, is_active: bool) -> None:
        """Notifies the other members that the user types or has stopped, unless the user's bucket is empty.

        Raises:
            ConversationNotFound: the user is not a member, as far as this session knows.
        """
        session = self._session
        if not session.subscriptions.is_in(conversation_id):
            raise ConversationNotFound(conversation_id)
        if self._bucket.take():
            self._fanout.publish_typing(
                conversation_id, session.username, is_active=is_active, origin=session.session_id
            )
