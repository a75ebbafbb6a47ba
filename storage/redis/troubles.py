"""What an error of Redis means for an operator, in a line: what is wrong there, and what mends it. No secrets."""

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MaxConnectionsError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)

# What an ACL user of Redis 7 needs; docs/operations/databases.md explains it, and a test uses it.
ACL_RULES = (
    "resetkeys ~*:presence:* ~*:timelines:* resetchannels &*:* -@all"
    " +publish +subscribe +unsubscribe +evalsha +script|load +time"
    " +hget +hmget +hgetall +hset +hdel +hincrby +expire +pexpire +select +cluster|slots +asking"
)
# As Redis 6 and 7 say it of a command in a script.
_REFUSED_IN_SCRIPT = ("can't run this command", "ACL failure in script")
_BY_TEXT = (
    ("Authentication required", "it asks for a password; put it into redis.url: redis://user:password@host"),
    ("without any password configured", "it has no password, and redis.url has one"),
    ("DB index is out of range", "redis.url names a database number that it does not have; 0 is always there"),
    (
        "SELECT is not allowed in cluster mode",
        "a cluster has database number 0 alone; take the number out of redis.url",
    ),
    (
        "unknown command",
        "it has a command renamed or switched off that Parley needs: PUBLISH, SUBSCRIBE, EVALSHA, SCRIPT",
    ),
    ("MISCONF", "it can't save to its disk and refuses writes; free its disk, or set stop-writes-on-bgsave-error no"),
    ("NOREPLICAS", "it has fewer replicas than min-replicas-to-write and refuses writes"),
    ("protected mode", "it is in protected mode and takes connections of its own machine alone; give it a password"),
    ("max number of clients", "it has as many connections as its maxclients allows; raise that"),
    ("CLUSTERDOWN", "the cluster does not serve: slots are without a node"),
    ("MASTERDOWN", "it is a replica that has lost its primary"),
    ("No master found", "no Sentinel names a primary of that name; look at the name in redis.url and at the Sentinels"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted; name the authority by ssl_ca_certs= in redis.url"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS on that port; use redis://, or its TLS port"),
)


def explain(error: BaseException) -> str:
    """Says what is wrong, and what to do where that is known."""
    # What follows is arguments, which can be what people wrote.
    text = str(error).partition(", with args beginning with")[0].strip() or type(error).__name__
    advice = _advice(error, text)
    return f"{text}: {advice}" if advice else text


def _advice(error: BaseException, text: str) -> str:
    for part, advice in _BY_TEXT:
        if part.lower() in text.lower():
            return advice
    if isinstance(error, NoPermissionError) or any(part in text for part in _REFUSED_IN_SCRIPT):
        return f"the user in redis.url needs more rights: ACL SETUSER <user> {ACL_RULES}"
    if isinstance(error, ReadOnlyError) or is_read_only(error):
        return "it is a replica and takes no writes; redis.url must lead to the primary"
    if isinstance(error, AuthenticationError):
        return "the user or the password in redis.url is wrong"
    if isinstance(error, OutOfMemoryError):
        return "it is out of memory; raise its maxmemory"
    if isinstance(error, BusyLoadingError):
        return "it is loading its data, and answers when that is done"
    if isinstance(error, MaxConnectionsError):
        return "all connections of this worker are in use"
    return ""


def is_read_only(error: BaseException) -> bool:
    """Whether a replica refused a write, also where a script tried it."""
    return isinstance(error, ReadOnlyError) or (isinstance(error, RedisError) and "READONLY" in str(error))
