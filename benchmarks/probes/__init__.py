"""The rows of the behaviour tables, in order."""

from types import ModuleType

from benchmarks.probes import costs, edges, masks, placement, units, values
from benchmarks.probes.observation import Probe


def _of(*modules: ModuleType) -> tuple[Probe, ...]:
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Probe)
    )


DROPOUT = _of(edges, values, masks, placement, costs)
"""What is looked at in every library's dropout."""

UNITS = _of(units)
"""What is looked at in the other members of the family."""
