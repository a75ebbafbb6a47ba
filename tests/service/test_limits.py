"""How many unary calls are served at once."""

import pytest

from service.errors import Overloaded
from service.interceptors.limits import InFlight


def test_call_beyond_the_limit_is_refused_until_one_ends():
    in_flight = InFlight(2)
    with in_flight:
        with in_flight, pytest.raises(Overloaded), in_flight:
            pass
        assert in_flight.count == 1
        with in_flight:
            assert in_flight.count == 2
    assert in_flight.count == 0
