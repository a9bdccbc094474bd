"""Configuration from a service elsewhere: asked in the background, kept on disk for when it does not answer."""

from instrument_registry.configuration.external.dialect import ServiceAddress
from instrument_registry.configuration.external.kept import Keeping
from instrument_registry.configuration.external.source import External, RequiredMissing, see_required

__all__ = ["External", "Keeping", "RequiredMissing", "ServiceAddress", "see_required"]
