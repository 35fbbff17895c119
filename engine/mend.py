"""Mending: what is damaged in a store is moved to its quarantine/ before a run, so that the plan has it done again.

Of results/ every file is read. Of the artifacts those are looked at that the plan counts on, by the sizes of their
files; their content is checked by who reads it (`engine.store.Store.fetch`).
"""

from itertools import chain

from engine.graph import Graph
from engine.plan import Plan, make_plan
from engine.store import Store


def damage(plan: Plan) -> list[str]:
    """Say what the plan found to be damaged. Nothing is moved."""
    return [
        f"damaged: results/{name}: {fault}. Its cells count as missing; a run moves it to quarantine/"
        for name, fault in plan.damaged.items()
    ]


def mend(graph: Graph, store: Store, on_gpu: bool) -> tuple[Plan, list[str]]:
    """Move what is damaged away; return the plan of what is left to do, and a line for each thing moved."""
    lines = [_set_aside(store, f"results/{name}", fault) for name, fault in store.damaged().items()]
    while True:
        plan = make_plan(graph, store, on_gpu, thorough=True)
        faults = store.faults(_counted_on(plan))
        if not faults:
            return plan, lines
        lines += [_set_aside(store, f"artifacts/{name}", fault) for name, fault in faults.items()]


def _counted_on(plan: Plan) -> list[str]:
    """The finished artifacts that the steps and cells left to do start from."""
    to_run = {step.artifact for step in plan.to_run}
    needs = (need for step in plan.to_run for _, need in step.needs)
    return sorted({*needs, *chain.from_iterable(work.artifacts for work in plan.open)} - to_run)


def _set_aside(store: Store, path: str, fault: str) -> str:
    moved = store.quarantine(path, fault)
    return f"damaged: {path}: {fault}. Moved to {store.address}/{moved}" if moved else f"damaged: {path}: {fault}. Another run moved it"
