"""GetServerInfo: which server this is, and every limit that requests meet."""

import os
from collections.abc import Callable
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from parley.v1 import server_info_pb2

from service.convert.timestamps import to_timestamp
from service.domain import distribution, limits
from service.domain.call import Call
from service.settings.tree import Settings
from service.settings.variables import COMMIT_VARIABLE


class ServerInfoHandlers:
    """The call about the server.

    Args:
        component_states: tells which parts answer, by name.
        epoch: tells the number of the server's history.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        start_time: datetime,
        epoch: Callable[[], int],
        component_states: Callable[[], dict[str, bool]],
    ) -> None:
        self._settings = settings
        self._start_time = start_time
        self._epoch = epoch
        self._component_states = component_states

    async def get_server_info(
        self, _request: server_info_pb2.GetServerInfoRequest, _call: Call
    ) -> server_info_pb2.GetServerInfoResponse:
        """Returns which server this is."""
        return server_info_pb2.GetServerInfoResponse(
            name="parley",
            version=distribution.version(),
            api_version="parley.v1",
            commit=os.environ.get(COMMIT_VARIABLE, ""),
            limits=self._limits(),
            start_time=to_timestamp(self._start_time),
            epoch=self._epoch(),
            components=[
                server_info_pb2.Component(
                    name=name,
                    state=server_info_pb2.Component.STATE_OK if is_ok else server_info_pb2.Component.STATE_AWAY,
                )
                for name, is_ok in self._component_states().items()
            ],
        )

    def _limits(self) -> server_info_pb2.Limits:
        settings, auth = self._settings.limits, self._settings.auth
        return server_info_pb2.Limits(
            max_text_bytes=limits.MAX_TEXT_BYTES,
            max_message_bytes=limits.MAX_MESSAGE_BYTES,
            max_request_bytes=limits.MAX_REQUEST_BYTES,
            max_response_bytes=limits.MAX_FRAME_BYTES,
            max_batch_requests=limits.MAX_BATCH_REQUESTS,
            max_pull_limit=limits.MAX_PULL_LIMIT,
            max_members_per_request=limits.MAX_MEMBERS_PER_REQUEST,
            max_members=settings.max_members,
            max_presence_usernames=limits.MAX_PRESENCE_USERNAMES,
            max_devices=settings.max_devices,
            max_streams=settings.max_streams_per_user,
            access_token_lifetime=Duration(seconds=auth.access_token_seconds),
            refresh_token_lifetime=Duration(seconds=auth.refresh_token_seconds),
        )
