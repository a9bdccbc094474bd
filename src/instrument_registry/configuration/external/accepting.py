"""Which of a service's answers are used: those that a parameter may have, and that hold together."""

from collections.abc import Collection, Mapping

from instrument_registry.configuration.model import BadValue, Sources, broken, resolve
from instrument_registry.configuration.parameters import PARAMETERS, RULES

Values = dict[str, str]


def accepted(
    found: Mapping[str, str], *, before: Mapping[str, str], pins: Mapping[str, str], required: Collection[str]
) -> tuple[Values, Values]:
    """What is used from now on, and what is not and why; where an answer cannot be used, the one before stays.

    What is required is not given up because the service has forgotten it.
    """
    values: Values = {}
    unusable: Values = {}
    for name, text in found.items():
        if name not in PARAMETERS:  # kept by a program that knew more
            continue
        try:
            PARAMETERS[name].read(text)
        except BadValue as error:
            unusable[name] = str(error)
        else:
            values[name] = text
    for name in required:
        if name not in found and name in before:
            unusable[name] = "the configuration service has none any more, and it is required"
    for name in unusable:
        if name in before:
            values[name] = before[name]
    _keep_rules(values, unusable, before=before, pins=pins)
    return values, unusable


def _keep_rules(values: Values, unusable: Values, *, before: Mapping[str, str], pins: Mapping[str, str]) -> None:
    for _ in RULES:
        rule = broken(RULES, resolve(PARAMETERS.values(), Sources(environment=pins, external=values), version=0))
        if rule is None:
            return
        for name in rule.names:
            if values.pop(name, None) is not None:
                unusable[name] = rule.says
            if name in before:
                values[name] = before[name]
