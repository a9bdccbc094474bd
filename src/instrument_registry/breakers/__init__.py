"""Circuit breakers: whoever does not answer is left alone for a while, by every process of an instance."""

from instrument_registry.breakers.breaker import Breaker, BreakerBusy, Breakers, Call
from instrument_registry.breakers.model import DependencyResting, Standing, State, Terms

__all__ = ["Breaker", "BreakerBusy", "Breakers", "Call", "DependencyResting", "Standing", "State", "Terms"]
