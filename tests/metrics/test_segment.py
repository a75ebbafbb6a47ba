"""Pages of a worker's place over its workers: what goes on, what is not known, and what another catalogue wrote."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from service.host.metrics_exposition import Exposition
from service.host.roles import WORKER
from service.host.serving_process import ServingProcess
from service.metrics.catalogue import WORKER_METRICS
from service.metrics.publisher import Publisher
from service.metrics.segment import LAYOUT, SEGMENT_BYTES, identify, open_segment

FRAMES, STREAMS, LETTERS = "parley_frames_total", "parley_streams", "parley_dead_letters_total"


@pytest.fixture
def workers() -> Iterator[list[ServingProcess]]:
    """Two places, whose processes are not started."""
    made = [ServingProcess(WORKER, 0), ServingProcess(WORKER, 1)]
    for worker in made:
        worker.is_ready = True
    yield made
    for worker in made:
        worker.discard()


def publish(worker: ServingProcess, numbers: Mapping[str, float | None]) -> None:
    """What a new process of the worker's place does."""
    publisher = Publisher(
        open_segment(worker.segment), {name: lambda number=number: number for name, number in numbers.items()}
    )
    publisher.publish()


def shown(workers: list[ServingProcess], name: str) -> list[float]:
    """A metric's samples."""
    (family,) = (
        each for each in Exposition(workers, []).collect() if f"{each.name}_total" == name or each.name == name
    )
    return [sample.value for sample in family.samples]


def test_counters_go_on_and_gauges_begin_anew(workers: list[ServingProcess]) -> None:
    publish(workers[0], {FRAMES: 5, STREAMS: 3})
    publish(workers[0], {FRAMES: 2, STREAMS: 1})
    publish(workers[1], {FRAMES: 10, STREAMS: 0})
    assert shown(workers, FRAMES) == [17]
    assert shown(workers, STREAMS) == [1, 0]


def test_what_is_shared_is_left_out_until_one_worker_knows_it(workers: list[ServingProcess]) -> None:
    assert shown(workers, LETTERS) == []
    publish(workers[0], {LETTERS: None})
    assert shown(workers, LETTERS) == []
    publish(workers[1], {LETTERS: 0})
    assert shown(workers, LETTERS) == [0]
    publish(workers[0], {LETTERS: 7})
    assert shown(workers, LETTERS) == [7]


def test_what_is_shared_never_falls(workers: list[ServingProcess]) -> None:
    for number in (7, None, 5):
        publish(workers[0], {LETTERS: number})
        assert shown(workers, LETTERS) == [7]
    publish(workers[0], {LETTERS: 8})
    assert shown(workers, LETTERS) == [8]


def test_segment_of_another_catalogue_is_left_out_and_begun_anew(workers: list[ServingProcess]) -> None:
    publish(workers[0], {FRAMES: 5, STREAMS: 3, LETTERS: 7})
    publish(workers[1], {FRAMES: 10, STREAMS: 4, LETTERS: 6})
    segment = open_segment(workers[0].segment)
    segment[LAYOUT] = identify(WORKER_METRICS[1:])
    assert shown(workers, FRAMES) == [10]
    assert shown(workers, STREAMS) == [4]
    assert shown(workers, LETTERS) == [6]
    publish(workers[0], {FRAMES: 1})
    assert shown(workers, FRAMES) == [11]
    assert shown(workers, STREAMS) == [0, 4]
    assert shown(workers, LETTERS) == [6]


def test_histogram_without_any_page_is_empty(workers: list[ServingProcess]) -> None:
    assert set(shown(workers, "parley_commit_seconds")) == {0}


def test_layout_says_what_the_numbers_mean() -> None:
    first, *others = WORKER_METRICS
    histogram = next(metric for metric in others if metric.bounds)
    layouts = [
        identify(WORKER_METRICS),
        identify(others),
        identify([*others, first]),
        identify([replace(first, name="parley_other"), *others]),
        identify(
            [replace(metric, bounds=(0.5, *metric.bounds[1:])) if metric is histogram else metric for metric in others]
        ),
    ]
    assert len(set(layouts)) == len(layouts)
    assert 0 not in layouts
    assert identify([replace(first, meaning="Said better."), *others]) == layouts[0]
    assert SEGMENT_BYTES % 8 == 0
