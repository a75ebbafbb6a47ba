"""The jobs of a worker: a row a job. docs/operations/jobs.md lists the same rows; a test compares the two.

What each job does is bound to its row in `composition/background.py`, and how jobs are run is in `jobs.py`.
"""

from service.consumers.service import TICK_SECONDS
from service.worker.health import CHECK_SECONDS
from service.worker.jobs import Hurry, Job, Scope
from storage.postgres.devices.devices import BEAT_SECONDS

# Where TLS is on.
CERTIFICATE = Job("certificate", 5.0)
# Where metrics are on.
DEAD_LETTERS_MADE = Job("dead letters made", 15.0)

ALWAYS = (
    Job("health", CHECK_SECONDS),
    Job("commit feed", 1.0, hurry=Hurry.BUS_IS_BACK),
    Job("primaries", 5.0),
    Job("timelines", 1.0),
    Job("membership versions", 3.0, hurry=Hurry.BUS_IS_BACK),
    Job("receipts anew", 3600.0, hurry=Hurry.BUS_IS_BACK),
    Job("revocations", 5.0),
    Job("epoch", 5.0),
    Job("peers", 5.0, hurry=Hurry.UNKNOWN_WORKER),
    Job("keys file", 5.0, hurry=Hurry.UNKNOWN_KEY),
    Job("idle channels", 5.0),
    Job("watched presence", 30.0),
    Job("unwatched presence", 15.0),
    Job("worker beat", BEAT_SECONDS),
    Job("due deliveries", TICK_SECONDS),
    Job("orphaned deliveries", 5.0, Scope.ONE_OF_ALL),
    Job("purge feed", 30.0, Scope.ONE_OF_ALL),
    # Of every worker, since dead is who was silent at two looks of the same worker.
    Job("purge streams", 60.0),
    Job("changed contents", 3.0),
    Job("deleted accounts", 10.0, Scope.ONE_OF_ALL),
    Job("upkeep", 60.0, Scope.ONE_OF_ALL),
)

JOBS = (*ALWAYS, CERTIFICATE, DEAD_LETTERS_MADE)
