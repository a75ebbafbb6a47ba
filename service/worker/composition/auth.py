"""Builds authentication and accounts, and the register of open streams."""

from dataclasses import dataclass
from pathlib import Path

from service.auth.accounts import AccountService
from service.auth.attempts import Attempts
from service.auth.issuers import Issuers, own_issuer
from service.auth.key_ring import KeyRing
from service.auth.keys import load_keys
from service.auth.logins import Logins
from service.auth.passwords import Passwords
from service.auth.refresh_tokens import RefreshTokens
from service.auth.refusals import RefusalLog
from service.auth.revocations import RevocationReader, Revocations
from service.auth.signer import TokenSigner
from service.auth.verifier import TokenVerifier
from service.delivery.streams import Streams
from service.rpc.authentication import Authenticator
from service.settings.tree import Settings
from service.worker.composition.delivery import Delivery
from service.worker.composition.stores import Stores
from storage.records import Revocation


@dataclass(frozen=True, slots=True)
class Auth:
    """Authentication, accounts, and the streams that end with their logins."""

    authenticator: Authenticator
    keys: KeyRing
    revocations: Revocations
    reader: RevocationReader
    streams: Streams
    accounts: AccountService
    logins: Logins
    passwords: Passwords


async def build_auth(settings: Settings, stores: Stores, delivery: Delivery) -> Auth:
    """Builds the parts, and reads the revocations in force."""
    assert settings.auth.keys_file is not None
    auth = settings.auth
    revocations = Revocations()
    reader = RevocationReader(stores.accounts, revocations)
    await reader.poll()
    keys = load_keys(Path(settings.auth.keys_file))
    streams = Streams(
        max_streams=settings.limits.max_streams,
        max_streams_per_user=settings.limits.max_streams_per_user,
        is_revoked=revocations.is_revoked,
    )
    revocations.listen(streams.end_revoked)

    def announce(revocation: Revocation) -> None:
        revocations.apply(revocation)
        delivery.fanout.publish_revocation(revocation)

    refusals = RefusalLog()
    logins = Logins(
        stores.accounts,
        signer=TokenSigner(keys, issuer=auth.issuer, audience=auth.audience, life_seconds=auth.access_token_seconds),
        refresh_tokens=RefreshTokens(stores.deployment.hash_key),
        announce_revocation=announce,
        refresh_token_seconds=auth.refresh_token_seconds,
        refusals=refusals,
    )
    passwords = Passwords(threads=auth.password_threads, queue_size=auth.password_queue)
    accounts = AccountService(
        stores.accounts,
        passwords=passwords,
        attempts=Attempts(
            per_account_per_minute=auth.attempts_per_minute,
            per_address_per_minute=auth.attempts_per_minute_per_address,
        ),
        logins=logins,
        refusals=refusals,
        leave_all=delivery.conversations.leave_all,
        announce_revocation=announce,
        is_registration_open=auth.registration == "open",
    )
    issuers = Issuers(own_issuer(keys, name=auth.issuer, audience=auth.audience))
    return Auth(
        authenticator=Authenticator(TokenVerifier(issuers), revocations),
        keys=keys,
        revocations=revocations,
        reader=reader,
        streams=streams,
        accounts=accounts,
        logins=logins,
        passwords=passwords,
    )
