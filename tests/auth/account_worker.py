"""An account service on a real database, with the parts around it, for the tests of this folder."""

from dataclasses import dataclass, field

from service.auth.accounts import AccountService
from service.auth.attempts import Attempts
from service.auth.logins import Grant, Logins
from service.auth.passwords import Passwords
from service.auth.refresh_tokens import RefreshTokens
from service.auth.refusals import RefusalLog
from service.auth.revocations import Revocations
from service.auth.verifier import TokenVerifier
from service.domain.call import Call
from storage.postgres.accounts.accounts import Accounts
from storage.records import Revocation
from tests.auth.rings import Clock, ring, signer, verifier

PASSWORD = "correct horse"
MONTH_SECONDS = 2_592_000
NOBODY = Call("c0", "127.0.0.1")
KEYS = ring()


@dataclass
class Worker:
    """An account service with what surrounds it. It hears its own announcements, as a worker does."""

    accounts: Accounts
    passwords: Passwords
    clock: Clock
    is_open: bool = True
    attempts_per_minute: int = 1000
    announced: list[Revocation] = field(default_factory=list)
    left: list[tuple[str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.revocations = Revocations(self.clock)
        self.verifier: TokenVerifier = verifier(KEYS, self.clock)
        refusals = RefusalLog()
        self.logins = Logins(
            self.accounts,
            signer=signer(KEYS),
            refresh_tokens=RefreshTokens(b"k" * 32),
            announce_revocation=self.announce,
            refresh_token_seconds=MONTH_SECONDS,
            refusals=refusals,
            clock=self.clock,
        )
        self.service = AccountService(
            self.accounts,
            passwords=self.passwords,
            attempts=Attempts(per_account_per_minute=self.attempts_per_minute, per_address_per_minute=1000),
            logins=self.logins,
            refusals=refusals,
            leave_all=self.leave_all,
            announce_revocation=self.announce,
            is_registration_open=self.is_open,
            clock=self.clock,
        )

    async def leave_all(self, username: str) -> None:
        self.left.append((username, (await self.accounts.get_user(username)).delete_time is not None))

    def announce(self, revocation: Revocation) -> None:
        self.announced.append(revocation)
        self.revocations.apply(revocation)

    def call(self, grant: Grant) -> Call:
        return Call("c1", "127.0.0.1", principal=self.verifier.verify(grant.access_token))

    def is_good(self, grant: Grant) -> bool:
        return not self.revocations.is_revoked(self.verifier.verify(grant.access_token))

    async def register(self, username: str = "alice", **changes: str) -> Grant:
        fields = {"password": PASSWORD, "display_name": "Alice", "device_id": "phone"} | changes
        return await self.service.register(NOBODY, username=username, **fields)

    async def login(self, username: str = "alice", password: str = PASSWORD, device_id: str = "phone") -> Grant:
        return await self.service.login(NOBODY, username=username, password=password, device_id=device_id)

    async def refresh(self, grant: Grant, request_id: str = "") -> Grant:
        return await self.logins.refresh(refresh_token=grant.refresh_token, request_id=request_id)
