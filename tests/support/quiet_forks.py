"""A pytest plugin that has gRPC leave forks alone; pyproject.toml names it, so that it comes before all that load gRPC.

Tests fork beside gRPC's threads, to start servers as another user, or so that these end with the tests. gRPC's own
handlers start its threads anew in the child, which then now and then aborts before it runs its program
("epoll_wait error: Bad file descriptor"): 24 of 400 children with four busy channels, none without the handlers. What
the tests fork runs another program at once, and has no use for gRPC.
"""

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
