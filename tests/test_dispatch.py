"""What the scheduler knows of its units: each begins once, after those it needs, and the counts add up."""

from itertools import count

from engine.schedule import State
from engine.work import Unit


def begin(state: State, trial: str) -> Unit | None:
    if unit := next(state.ready(), None):
        state.begin(trial, unit)
    return unit


def test_units_begin_in_order_and_after_those_they_need() -> None:
    first, second, third = (
        Unit("teacher", ("step",), cost=2.0), Unit("student", ("step", "step"), after=frozenset({"teacher"}), cost=3.0),
        Unit("other", ("step",)),
    )  # fmt: skip
    state = State({unit.name: unit for unit in (first, second, third)})
    assert [begin(state, "1"), begin(state, "2"), begin(state, "3")] == [first, third, None]
    assert state.steps == {"waiting": 2, "pending": 2} and state.cost == 0
    state.start("2")
    state.start("2")  # its worker was lost, and it starts again
    assert state.steps == {"waiting": 2, "pending": 1, "running": 1}
    assert state.end("2") == third and begin(state, "4") is None
    assert state.end("1") == first and state.end("1") is None
    assert begin(state, "5") == second and not state.waiting
    assert state.end("5") == second and not state.given and state.done == {"teacher", "student", "other"}
    assert state.steps == {"waiting": 0, "pending": 0, "running": 0, "done": 4} and state.cost == 5.0


def test_a_long_chain_is_done_from_its_beginning() -> None:
    names = [f"u{number}" for number in range(50)]
    units = [Unit(name, (), after=frozenset(names[:i][-2:])) for i, name in enumerate(names)]
    state = State({unit.name: unit for unit in reversed(units)})
    begun = []
    for trial in map(str, count()):
        unit = begin(state, trial)
        if unit is None:
            break
        begun.append(unit.name)
        state.end(trial)
    assert begun == names
