"""Runs the example: a server of its own, two accounts, two workshops, a shop that is killed, an operator who mends.

Ends with 0 when each order was answered exactly once, else with 1; stops what it started in any case. Arguments:
[--data-dir DIR], for a log that is kept; else everything is in a temporary directory that goes.
"""

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from programs import Stage

HERE = Path(__file__).parent
WORKSHOP = HERE.parents[2] / "build" / "services" / "workshop"
PARLEY = (sys.executable, "-m", "service")
# Below the defaults, so that nobody waits long for the end of the attempts.
RETRIES = {"PARLEY_RETRY_FIRST_DELAY_SECONDS": "0.1", "PARLEY_RETRY_MAX_ATTEMPTS": "4"}
_LIMIT_SECONDS = 240.0


async def run(data_dir: Path) -> None:
    """Plays the whole story.

    Raises:
        ChildProcessError: a part of it failed.
        TimeoutError: something did not come about.
    """
    settings = RETRIES | {"PARLEY_DATA_DIR": str(data_dir), "PARLEY_LISTEN": "127.0.0.1:0"}
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(_LIMIT_SECONDS):
        stage = Stage(stack, settings)
        await (await stage.start("go", "go", "build", "-C", HERE, "-o", WORKSHOP, ".")).end()
        server = await stage.start("server", *PARLEY, "serve", is_shown=False)
        target = (await server.line_with(r'^(?=.*"event": "ready").*"listen": "([^"]+)"'))[1]
        shop_token, workshop_token, operator_token = await asyncio.gather(
            mint(stage, "shop"), mint(stage, "workshop"), mint(stage, "shop", "--scope", "dead_letters")
        )
        for number in (1, 2):
            # Whichever answers order 1003 dies before its ack; the other one gets that order again.
            await stage.start(f"workshop {number}", WORKSHOP, "-crash-on", "1003", target, token=workshop_token)
        shop_command = (sys.executable, HERE / "shop.py", target, data_dir / "book.sqlite")
        shop = await stage.start("shop", *shop_command, token=shop_token)
        await shop.line_with("is answered")
        await shop.stop(signal.SIGKILL)
        print(f"{'':>10} * the shop was killed; it is started again", flush=True)
        shop = await stage.start("shop", *shop_command, token=shop_token)
        mend = (sys.executable, HERE / "mend.py", target, "globe=30000")
        await (await stage.start("operator", *mend, token=operator_token)).end()
        await shop.end()
        await (await stage.start("check", sys.executable, HERE / "check.py", target, token=operator_token)).end()


async def mint(stage: Stage, username: str, *options: str) -> str:
    """Makes the account of a service, if there is none, and an access token for it."""
    arguments = ("token", "--service", "--ttl", "3600", *options, username)
    program = await stage.start("token", *PARLEY, *arguments, is_shown=False)
    return (await program.line_with(r"^[\w-]+\.[\w-]+\.[\w-]+$"))[0]


async def play(data_dir: Path) -> None:
    """Runs the story until it ends or a signal comes. A second signal does not disturb the stopping."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, lambda: task.cancelling() or task.cancel())
    await run(data_dir)


def main() -> None:
    """Reads the arguments, and says what went wrong."""
    parser = argparse.ArgumentParser(description="Runs the example; see README.md.")
    parser.add_argument("--data-dir", metavar="DIR", help="Where the data are, and stay. Default: they are removed")
    data_dir = parser.parse_args().data_dir
    if shutil.which("go") is None:
        sys.exit("services: the workshop is written in Go, and go is not on PATH")
    try:
        with contextlib.nullcontext(data_dir) if data_dir else tempfile.TemporaryDirectory() as directory:
            asyncio.run(play(Path(directory).absolute()))
    except asyncio.CancelledError:
        sys.exit("services: stopped")
    except TimeoutError:
        sys.exit(f"services: not done after {_LIMIT_SECONDS:g} s")
    except ChildProcessError as error:
        sys.exit(f"services: {error}")


if __name__ == "__main__":
    main()
