"""The planner in a process of its own: with its own bound of memory, and stopped from outside when its time is up."""

from instrument_registry.subscriptions.solver.solver import PlannerTimedOut, Solver

__all__ = ["PlannerTimedOut", "Solver"]
