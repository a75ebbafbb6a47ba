"""The account calls: convert, call the service, convert back. The effects: `service/auth/accounts.py`, `logins.py`."""

from parley.v1 import account_pb2

from service.auth.accounts import AccountService
from service.auth.logins import Logins
from service.convert.accounts import to_tokens, to_user
from service.domain.call import Call


class AccountHandlers:
    """Register, Login, RefreshToken, Logout, GetUser, UpdateUser, ChangePassword, DeleteAccount."""

    def __init__(self, service: AccountService, logins: Logins) -> None:
        self._service = service
        self._logins = logins

    async def register(self, request: account_pb2.RegisterRequest, call: Call) -> account_pb2.RegisterResponse:
        """Makes an account and logs it in."""
        grant = await self._service.register(
            call,
            username=request.username,
            password=request.password,
            display_name=request.display_name,
            device_id=request.device_id,
        )
        return to_tokens(account_pb2.RegisterResponse, grant)

    async def login(self, request: account_pb2.LoginRequest, call: Call) -> account_pb2.LoginResponse:
        """Logs in with a password."""
        grant = await self._service.login(
            call, username=request.username, password=request.password, device_id=request.device_id
        )
        return to_tokens(account_pb2.LoginResponse, grant)

    async def refresh_token(
        self, request: account_pb2.RefreshTokenRequest, _call: Call
    ) -> account_pb2.RefreshTokenResponse:
        """Exchanges a refresh token for the next pair."""
        grant = await self._logins.refresh(refresh_token=request.refresh_token, request_id=request.request_id)
        return to_tokens(account_pb2.RefreshTokenResponse, grant)

    async def logout(self, request: account_pb2.LogoutRequest, _call: Call) -> account_pb2.LogoutResponse:
        """Ends a login."""
        await self._logins.logout(refresh_token=request.refresh_token)
        return account_pb2.LogoutResponse()

    async def get_user(self, request: account_pb2.GetUserRequest, call: Call) -> account_pb2.GetUserResponse:
        """Reads a profile."""
        user = await self._service.get_user(call, username=request.username)
        return account_pb2.GetUserResponse(user=to_user(user))

    async def update_user(self, request: account_pb2.UpdateUserRequest, call: Call) -> account_pb2.UpdateUserResponse:
        """Changes the caller's profile."""
        user = await self._service.update_user(
            call,
            display_name=request.display_name if request.HasField("display_name") else None,
            avatar_uri=request.avatar_uri if request.HasField("avatar_uri") else None,
        )
        return account_pb2.UpdateUserResponse(user=to_user(user))

    async def change_password(
        self, request: account_pb2.ChangePasswordRequest, call: Call
    ) -> account_pb2.ChangePasswordResponse:
        """Changes the caller's password."""
        grant = await self._service.change_password(
            call, old_password=request.old_password, new_password=request.new_password
        )
        return to_tokens(account_pb2.ChangePasswordResponse, grant)

    async def delete_account(
        self, request: account_pb2.DeleteAccountRequest, call: Call
    ) -> account_pb2.DeleteAccountResponse:
        """Deletes the caller's account."""
        await self._service.delete_account(call, password=request.password)
        return account_pb2.DeleteAccountResponse()
