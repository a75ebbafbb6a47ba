"""Embedded servers that tests start in the middle of traffic, from any thread.

The servers' own way runs Python between fork and exec, which is for a process that has one thread: in one with gRPC's
threads the child can crash. Here a small program of its own does what is to be done before the server runs.
"""

import subprocess
import sys

from storage.embedded.children import child_options, open_private
from storage.embedded.process import EmbeddedServer

# Arguments: the signal that comes when the thread that starts it ends, user, group (-1: as they are), the command.
_START = """
import ctypes, os, sys
number, user, group, *command = sys.argv[1:]
if int(user) >= 0:
    os.setgroups([])
    os.setgid(int(group))
    os.setuid(int(user))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(number))
os.execv(command[0], command)
"""


class Spawned(EmbeddedServer):
    """To be put before an embedded server's class."""

    def _run(self) -> None:
        options = child_options(self.directory, None, self.stop_signal)
        del options["preexec_fn"]
        user, group = self._user() or (-1, -1)
        starter = [sys.executable, "-I", "-S", "-c", _START, str(int(self.stop_signal)), str(user), str(group)]
        with open(self.log_file, "ab", opener=open_private) as log:  # Path.open takes no opener
            self.process = subprocess.Popen([*starter, *self._command()], stdout=log, stderr=log, **options)
