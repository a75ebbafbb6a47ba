"""Accounts and tokens as protobuf."""

from typing import TypeVar

from parley.v1 import account_pb2

from service.auth.logins import Grant
from service.convert.timestamps import to_timestamp
from storage.records import User

_Response = TypeVar(
    "_Response",
    account_pb2.RegisterResponse,
    account_pb2.LoginResponse,
    account_pb2.RefreshTokenResponse,
    account_pb2.ChangePasswordResponse,
)


def to_user(user: User) -> account_pb2.User:
    """Returns the profile that others see."""
    return account_pb2.User(
        username=user.username,
        display_name=user.display_name,
        avatar_uri=user.avatar_uri,
        create_time=to_timestamp(user.create_time),
        delete_time=None if user.delete_time is None else to_timestamp(user.delete_time),
    )


def to_tokens(response: type[_Response], grant: Grant) -> _Response:
    """Returns the response of a call that logs in: they all have the same fields."""
    return response(
        user=to_user(grant.user),
        access_token=grant.access_token,
        access_expire_time=to_timestamp(grant.access_expire_time),
        refresh_token=grant.refresh_token,
        refresh_expire_time=to_timestamp(grant.refresh_expire_time),
        device_id=grant.device_id,
    )
