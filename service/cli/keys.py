"""The commands `parley keys ...`: the signing keys of the access tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from service.cli.options import ConfigOption, DataDirOption, fail
from service.cli.run import JsonOption, echo_row, to_json, to_text

keys_commands = typer.Typer(
    help="Look after the keys that sign access tokens. Running servers follow the file within seconds.",
    no_args_is_help=True,
)

if TYPE_CHECKING:
    from service.settings.tree import Settings

T = TypeVar("T")


@keys_commands.command("list")
def list_keys(as_json: JsonOption = False, data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """List the keys in the order of the file; the last one signs, all verify. Secrets are not shown."""
    from service.auth import key_rotation

    found = _run(data_dir, config, key_rotation.list_keys)
    if not as_json:
        echo_row("KEY", "ALGORITHM", "STATE", "ADDED", "RETIRED")
    for key in found:
        if as_json:
            typer.echo(to_json(key))
        else:
            echo_row(key.key_id, key.algorithm, key.state, to_text(key.add_time), to_text(key.retire_time))


@keys_commands.command("add")
def add_key(as_json: JsonOption = False, data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """Add a key that verifies and does not sign yet; where there is no file, make it with a first key that signs.

    With several nodes: copy the file to all of them, then `parley keys promote`, then copy it again.
    """
    from service.auth import key_rotation

    key_id, is_first = _run(data_dir, config, key_rotation.add_key)
    path = _path(data_dir, config)
    if as_json:
        typer.echo(to_json({"key_id": key_id, "result": "made" if is_first else "added", "file": str(path)}))
    elif is_first:
        typer.echo(f"made {path}; {key_id} signs")
    else:
        typer.echo(
            f"{key_id} verifies from now on ({path}); when all nodes have it, `parley keys promote` lets it sign"
        )


@keys_commands.command("promote")
def promote_key(
    key_id: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="The key's id. Default: the one added last.")
    ] = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Let an added key sign from now on; the one before goes on verifying.

    Every node must have the key already: what it signs is refused by a node that does not know it.
    """
    from service.auth import key_rotation

    promoted = _run(data_dir, config, lambda path: key_rotation.promote_key(path, key_id))
    _tell_signing(promoted, as_json, data_dir, config)


@keys_commands.command("rotate")
def rotate_keys(as_json: JsonOption = False, data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """Add a key that signs at once: for one machine. With several nodes use `add`, `promote` and copies between."""
    from service.auth import key_rotation

    _tell_signing(_run(data_dir, config, key_rotation.rotate_keys), as_json, data_dir, config)


@keys_commands.command("prune")
def prune_keys(
    longest_token: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            help="The longest life of any token that was printed by `parley token --ttl`. Default: 366 days, the"
            " longest there can be. Where none was printed, auth.access_token_seconds will do.",
        ),
    ] = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Take out keys that stopped signing so long ago that no token of theirs can live.

    A key of which the file does not say when it stopped is counted from now on, and stays. Public keys stay: their
    other halves sign elsewhere.
    """
    from service.auth import key_rotation
    from service.auth.tokens import MAX_LIFE_SECONDS

    least = _load(config, data_dir).auth.access_token_seconds
    if longest_token is not None and not least <= longest_token <= MAX_LIFE_SECONDS:
        fail(f"--longest-token takes {least} (auth.access_token_seconds) to {MAX_LIFE_SECONDS} seconds")
    seconds = float(longest_token or MAX_LIFE_SECONDS)
    pruned = _run(data_dir, config, lambda path: key_rotation.prune_keys(path, longest_token_seconds=seconds))
    for key in pruned:
        if as_json:
            result = "removed" if key.is_removed else "kept"
            typer.echo(to_json({"key_id": key.key_id, "result": result, "removable_time": key.removable_time}))
        elif key.is_removed:
            typer.echo(f"removed {key.key_id}")
        elif key.removable_time is None:
            typer.echo(f"kept {key.key_id}: a public key")
        else:
            typer.echo(f"kept {key.key_id}: its last tokens end at {to_text(key.removable_time)}")
    if not pruned and not as_json:
        typer.echo("there is no key that stopped signing")


def _tell_signing(key_id: str, as_json: bool, data_dir: Path | None, config: Path | None) -> None:
    path = _path(data_dir, config)
    if as_json:
        typer.echo(to_json({"key_id": key_id, "result": "signs", "file": str(path)}))
    else:
        typer.echo(f"{key_id} signs from now on ({path})")


def _run(data_dir: Path | None, config: Path | None, change: Callable[[Path], T]) -> T:
    from service.auth.key_ring import KeysError

    try:
        return change(_path(data_dir, config))
    except KeysError as error:
        fail(str(error))


def _load(config: Path | None, data_dir: Path | None) -> "Settings":
    from service.settings.load import ConfigError, load

    try:
        return load({"data_dir": data_dir}, config_file=config).settings
    except ConfigError as error:
        fail(str(error))


def _path(data_dir: Path | None, config: Path | None) -> Path:
    from service.host.preparation import keys_path

    return keys_path(_load(config, data_dir))
