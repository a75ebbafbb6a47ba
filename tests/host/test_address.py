"""Where the server listens: each way to write an address, on which family it is reached, and what is taken is told."""

import socket
from collections.abc import Callable

import pytest

from service.host.address import AddressError, hold_address, open_listeners
from service.settings.host_port import split_listen

V4, V6 = (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")


def answers(place: tuple[socket.AddressFamily, str], port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket(place[0]) as caller:
        return caller.connect_ex((place[1], port)) == 0


@pytest.fixture(scope="module", autouse=True)
def needs_ipv6() -> None:
    """Shows the tests as skipped on machines without IPv6."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error.strerror}")


@pytest.mark.parametrize(
    ("listen", "families"),
    [
        ("127.0.0.1:0", {V4}),
        ("[::1]:0", {V6}),
        ("0.0.0.0:0", {V4}),
        ("[::]:0", {V4, V6}),
        (":0", {V4, V6}),
        ("*:0", {V4, V6}),
    ],
)
def test_scrapes_are_answered_on_the_families_that_the_address_names(listen: str, families: set[object]) -> None:
    with open_listeners(listen, "PARLEY_METRICS_LISTEN") as (_, at):
        port = split_listen(at)[1]
        assert {place for place in (V4, V6) if answers(place, port)} == families


@pytest.mark.parametrize("claim", [hold_address, lambda listen: open_listeners(listen, "X")], ids=["hold", "listen"])
@pytest.mark.parametrize("taken", [V4, V6], ids=["v4", "v6"])
def test_wildcard_of_both_families_is_refused_when_the_port_is_taken_in_one(
    claim: Callable[[str], object], taken: tuple[socket.AddressFamily, str]
) -> None:
    with socket.socket(taken[0]) as other:
        if taken == V6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind((taken[1], 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(AddressError, match="is in use by another program"), claim(f"[::]:{port}"):
            pass


def test_host_that_is_not_known_is_one_line() -> None:
    with pytest.raises(AddressError, match=r"^can't listen on nowhere\.invalid: "), hold_address("nowhere.invalid:0"):
        pass
