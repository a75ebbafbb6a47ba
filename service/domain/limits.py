"""Every limit of requests and answers that clients are told: by the contract, by GetServerInfo or in a refusal.

Limits of the memory of a worker, and limits that an operator sets, are not here. How many unsettled messages a device
may have is a limit of the statements that claim them (`storage/postgres/devices/deliveries.py`).
"""

# Fields that one refusal names. The details of a status go in trailers, of which clients take 8 KiB.
MAX_VIOLATIONS = 10

# A request or a frame from a client, as encoded; gRPC refuses a larger one.
MAX_REQUEST_BYTES = 256 * 1024
# A frame to a client, as encoded.
MAX_FRAME_BYTES = 1024 * 1024

# Names and ids.
MAX_DEVICE_ID_BYTES = 64
MAX_REQUEST_ID_BYTES = 64
MAX_CONVERSATION_ID_BYTES = 65

# Accounts.
MAX_DISPLAY_NAME_BYTES = 128
MAX_AVATAR_URI_BYTES = 2048
MIN_PASSWORD_BYTES = 8
MAX_PASSWORD_BYTES = 256

# Messages. The size of a message is that of its request, as encoded.
MAX_TEXT_BYTES = 16_384
MAX_MESSAGE_BYTES = 65_536
MAX_BATCH_REQUESTS = 500
MAX_CONTENT_TYPE_BYTES = 128
MAX_MENTIONS = 100
MAX_ATTACHMENTS = 32
MAX_ATTACHMENT_URI_BYTES = 2048
MAX_ATTACHMENT_TYPE_BYTES = 128
MAX_ATTACHMENT_NAME_BYTES = 256
MAX_ATTRIBUTES = 32
MAX_ATTRIBUTE_KEY_BYTES = 64
MAX_ATTRIBUTE_VALUE_BYTES = 1024

# Entries of one Pull.
DEFAULT_PULL_LIMIT = 20
MAX_PULL_LIMIT = 500

# Conversations and members.
MAX_TITLE_BYTES = 256
MAX_MEMBERS_PER_REQUEST = 500
DEFAULT_CONVERSATIONS_PAGE = 50
MAX_CONVERSATIONS_PAGE = 200
DEFAULT_MEMBERS_PAGE = 100
MAX_MEMBERS_PAGE = 500

# Presence.
MAX_PRESENCE_USERNAMES = 500

# Streams.
HELLO_SECONDS = 30.0  # from the begin of a stream until its hello
MAX_HELLO_POSITIONS = 10_000
MAX_POSITIONS = 1_000  # of Ack, of a frame of acks or of read positions
MIN_HEARTBEAT_SECONDS = 1.0
MAX_HEARTBEAT_SECONDS = 600.0
# Entries that may be under way to a client with cumulative acks; each takes memory of the worker until it is covered.
MAX_WINDOW_MESSAGES = 10_000

# Manual acks.
# Messages that one stream holds at most. With 250, two streams both have work while a device may have 1,000.
MAX_HELD_MESSAGES = 250
MAX_NACKS = 1_000
MAX_NACK_REASON_BYTES = 512
MIN_ACK_DEADLINE_SECONDS = 1.0
MAX_ACK_DEADLINE_SECONDS = 3600.0
MAX_RETRY_DELAY_SECONDS = 3600.0

# Dead letters.
MAX_DEAD_LETTER_IDS = 1_000
DEFAULT_DEAD_LETTERS_PAGE = 20
MAX_DEAD_LETTERS_PAGE = 100
