"""Foreseen failures, told apart by what the caller can do about them."""

from typing import ClassVar


class RegistryError(Exception):
    """A foreseen failure. Anything else is a bug and must surface as one.

    The facts are shown to the caller: never put a secret into them.
    """

    title: ClassVar[str] = "The registry could not do this"

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.facts = facts


class Invalid(RegistryError):
    """Change the request."""

    title = "The request is not valid"


class Unauthorized(RegistryError):
    """Say who you are."""

    title = "A valid API key is needed"


class Forbidden(RegistryError):
    """Ask somebody who may."""

    title = "This key may not do that"


class NotFound(RegistryError):
    """Look elsewhere."""

    title = "Nothing was found"


class Gone(RegistryError):
    """It was here once; the answer says where it is now."""

    title = "It is no longer here"


class Conflict(RegistryError):
    """Read again, then decide."""

    title = "The request conflicts with the present state"


class ChangedSince(Conflict):
    """Somebody was quicker: read again."""

    title = "It has been changed since it was read"


class TooLarge(RegistryError):
    """Send less."""

    title = "The request is too large"


class TooMany(RegistryError):
    """Slow down."""

    title = "Too many requests"


class TimedOut(RegistryError):
    """Allow more time, or ask for less."""

    title = "It took too long"


class Unavailable(RegistryError):
    """Try again later."""

    title = "The registry cannot do this right now"
