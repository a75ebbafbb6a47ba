"""What the streams of a worker work with."""

from dataclasses import dataclass

from service.consumers.service import ManualDelivery
from service.conversations.service import ConversationService
from service.delivery.device_modes import DeviceModes
from service.delivery.fanout import Fanout
from service.delivery.hub import Hub
from service.delivery.subscription_manager import SubscriptionManager
from service.domain.hashes import RequestHasher
from service.messages.acks import AckService
from service.messages.service import MessageService
from service.presence.tracker import PresenceTracker
from service.receipts.tracker import ReceiptTracker
from service.rpc.authentication import Authenticator


@dataclass(frozen=True, slots=True)
class ChatParts:
    """The verbs that frames call, and what a hello puts a session into; one for a worker.

    Attributes:
        epoch: the epoch that the worker began with.
        ack_deadline_seconds: how long a stream with manual acks has for each ack, unless its hello says so.
    """

    authenticator: Authenticator
    hub: Hub
    subscriptions: SubscriptionManager
    messages: MessageService
    fanout: Fanout
    acks: AckService
    modes: DeviceModes
    manual: ManualDelivery
    presence: PresenceTracker
    receipts: ReceiptTracker
    conversations: ConversationService
    hasher: RequestHasher
    epoch: int
    ack_deadline_seconds: float
