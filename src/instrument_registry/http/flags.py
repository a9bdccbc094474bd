"""Our configuration for other programs: one parameter by its name, and toggles as OpenFeature's clients ask for them.

OFREP is https://github.com/open-feature/protocol, version 0.2: its failures are problem documents with its members.
"""

from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from instrument_registry.access.limits.model import RouteClass
from instrument_registry.access.model import Scope
from instrument_registry.configuration import service
from instrument_registry.configuration.measures import ACCESS
from instrument_registry.configuration.model import Snapshot, Source, UnknownParameter, Value, find
from instrument_registry.configuration.parameters import PARAMETERS
from instrument_registry.configuration.toggles import TOGGLES, Toggle, Verdict, Why, judge
from instrument_registry.errors import NotFound
from instrument_registry.http.bodies import read_json
from instrument_registry.http.encoding import entity_tag, json_response, not_modified
from instrument_registry.http.limiting import costs
from instrument_registry.http.openapi import describe
from instrument_registry.http.paths import named
from instrument_registry.http.problems import NotUnderstood
from instrument_registry.http.routes import needs, root
from instrument_registry.wiring import Registry

Plain = str | int | float | bool | None


class ParameterNotFound(NotFound):
    """List the parameters to see their names."""

    title = "There is no such parameter"


class FlagNotFound(NotFound):
    """Evaluate all flags to see their keys."""

    title = "There is no such flag"


class ContextRefused(NotUnderstood):
    """Send a context with a targetingKey: the flag is on for a share of the keys."""

    title = "The flag cannot be evaluated for this context"


class ConfigurationValue(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force for one parameter, and where it comes from."""

    key: str
    value: Value
    source: Source
    version: int


class FlagContext(msgspec.Struct, frozen=True, kw_only=True):
    """For whom: a toggle on for a share of the keys needs the key; other members are not looked at."""

    targeting_key: Annotated[str, msgspec.Meta(max_length=1_000)] | None = msgspec.field(
        name="targetingKey", default=None
    )


class FlagRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What OpenFeature's clients send."""

    context: FlagContext = FlagContext()


class FlagEvaluated(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a feature is on for that key, and why; in a list a flag that could not be evaluated says so instead."""

    key: str
    value: bool | None = None
    reason: Why | None = None
    variant: Literal["on", "off"] | None = None
    metadata: dict[str, Plain] = {}
    error_code: str | None = msgspec.field(name="errorCode", default=None)
    error_details: str | None = msgspec.field(name="errorDetails", default=None)


class FlagsEvaluated(msgspec.Struct, frozen=True, kw_only=True):
    """Every flag for one context."""

    flags: list[FlagEvaluated]
    metadata: dict[str, Plain]


router = root(tag="configuration")


@router.get(
    "/api/v1/config/{key}",
    **describe(answer=ConfigurationValue, means="Its value", problems=(ParameterNotFound,), tagged=True),
)
async def one_parameter(request: Request) -> Response:
    """One parameter, with or without the prefix of our environment; secret ones are none of these."""
    registry: Registry = request.app.state.registry
    asked, there = named(request.scope, "key"), registry.configuration.now
    try:
        parameter = find(PARAMETERS, asked)
    except UnknownParameter as error:
        raise ParameterNotFound(str(error), key=asked[:100]) from error
    if parameter.secret:
        raise ParameterNotFound(f"{parameter.name} is secret", key=parameter.name)
    ACCESS.labels(parameter.name).inc()
    setting = there.settings[parameter.name]
    tag = entity_tag(parameter.name, there.version, setting.value)
    shown = ConfigurationValue(key=parameter.name, value=setting.value, source=setting.source, version=there.version)
    return not_modified(request.scope, tag) or json_response(shown, headers={"etag": tag, "cache-control": "no-cache"})


@router.post(
    "/ofrep/v1/evaluate/flags",
    **describe(
        body=FlagRequest, answer=FlagsEvaluated, means="Every flag", tagged=True,
        problems=(ContextRefused,),
    ),
)  # fmt: skip
@needs(Scope.READER)
@costs(RouteClass.READ)
async def evaluate_flags(request: Request) -> Response:
    """Every toggle for one context, by feature."""
    registry: Registry = request.app.state.registry
    context = (await read_json(request, FlagRequest)).context
    there = registry.configuration.now
    flags = [_evaluated(toggle, there, context) for toggle in TOGGLES.values()]
    tag = entity_tag("flags", there.version, flags)
    return not_modified(request.scope, tag) or json_response(
        FlagsEvaluated(flags=flags, metadata={"version": there.version}),
        headers={"etag": tag, "cache-control": "no-cache"},
    )


@router.post(
    "/ofrep/v1/evaluate/flags/{key}",
    **describe(body=FlagRequest, answer=FlagEvaluated, means="The flag", problems=(FlagNotFound, ContextRefused)),
)
@needs(Scope.READER)
@costs(RouteClass.READ)
async def evaluate_flag(request: Request) -> Response:
    """One toggle for one context, by its feature or by the parameter that turns it off."""
    registry: Registry = request.app.state.registry
    key = named(request.scope, "key")
    context = (await read_json(request, FlagRequest)).context
    feature = key.lower().removesuffix("_enabled")
    if feature not in TOGGLES:
        detail = f"There is no flag {key[:100]!r}; there are {', '.join(TOGGLES)}"
        raise FlagNotFound(detail, key=key[:100], errorCode="FLAG_NOT_FOUND", errorDetails=detail)
    found = _evaluated(TOGGLES[feature], registry.configuration.now, context, key=key)
    if found.error_code is not None:
        details = str(found.error_details)
        raise ContextRefused(details, key=key, errorCode=found.error_code, errorDetails=details)
    return json_response(found)


def _evaluated(toggle: Toggle, there: Snapshot, context: FlagContext, *, key: str | None = None) -> FlagEvaluated:
    name = key or toggle.feature
    ACCESS.labels(toggle.name).inc()
    verdict: Verdict = judge(toggle, there, context.targeting_key or "")
    if verdict.why is Why.SPLIT and not context.targeting_key:
        details = f"{toggle.feature} is on for {service.text(there, toggle.percent.name)} % of the keys; say which one"
        return FlagEvaluated(key=name, error_code="TARGETING_KEY_MISSING", error_details=details)
    return FlagEvaluated(
        key=name, value=verdict.on, reason=verdict.why, variant="on" if verdict.on else "off",
        metadata={"toggle": toggle.name, "version": there.version},
    )  # fmt: skip
