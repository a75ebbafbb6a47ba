"""The settings of each session: what Parley relies on, whatever defaults the role, the database or the server have.

They are set after connecting, in one statement: a pooler knows few parameters of the start of a connection.
"""

from collections.abc import Mapping

# One plan for each statement, by index look-ups in nested loops: right whatever the tables hold, since every statement
# that matters begins with a few keys. Left to itself the planner plans most of them anew at each use, which costs more
# than to run them; and a plan that it made while tables were small, to scan and hash all of them for the twenty rows of
# a user, it keeps when they have grown.
_PLANNER = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",  # it reads all of a range before it takes the first twenty
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_indexscan": "on",
    "enable_nestloop": "on",
    "jit": "off",  # plans here are short; compiling them costs more than running them
}
# PostgreSQL's own defaults, which a role or a database can have others for.
_DEFAULTS = {
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    # What the server ends by itself could be a commit that waits for a standby, which must not be cancelled.
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "client_min_messages": "notice",  # lanes listen to warnings
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "row_security": "on",
    "transform_null_equals": "off",
    "exit_on_error": "off",
    "timezone": "UTC",
    # A server that looks for its client while a commit waits for the standby would cancel the wait.
    "client_connection_check_interval": "0",
}
# Set where the server's version has it, or the value is another one: a role may not be allowed to set it.
_WHERE = {
    "transaction_timeout": ("0", "current_setting('transaction_timeout', true) IS NOT NULL"),
    "session_replication_role": ("origin", "current_setting('session_replication_role') <> 'origin'"),
}
# An acknowledged message is on the disk, and on the standby where commits wait for one.
IS_WEAK_COMMIT = (
    "(current_setting('synchronous_commit') = 'off' OR current_setting('synchronous_commit') = 'local'"
    " AND current_setting('synchronous_standby_names') <> '')"
)


def session_settings(
    *, settings: Mapping[str, str], schema: str | None, lock_timeout_ms: int, allows_weak_durability: bool
) -> str:
    """Returns the statement that sets them.

    Args:
        settings: further ones, which those here override.
        schema: the search path; None: it stays.
        allows_weak_durability: whether `synchronous_commit` stays as it is when it promises less than it should.
    """
    wanted = {**settings, **_DEFAULTS, **_PLANNER, "lock_timeout": str(lock_timeout_ms)}
    if schema is not None:
        wanted["search_path"] = f'"{schema}"'
    calls = [_call(name, value) for name, value in wanted.items()]
    calls += [f"CASE WHEN {condition} THEN {_call(name, value)} END" for name, (value, condition) in _WHERE.items()]
    if not allows_weak_durability:
        calls.append(f"CASE WHEN {IS_WEAK_COMMIT} THEN {_call('synchronous_commit', 'on')} END")
    return f"SELECT {', '.join(calls)}"


def _call(name: str, value: str) -> str:
    return f"set_config({_quote(name)}, {_quote(value)}, false)"


def _quote(text: str) -> str:
    """Returns a literal that is the same whatever `standard_conforming_strings` is."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'" if "\\" in text else f"'{escaped}'"
