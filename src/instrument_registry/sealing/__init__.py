"""Secrets that must be read again lie sealed: each under a data key of its own, that one wrapped by a master key."""

from instrument_registry.sealing.envelope import (
    KEY_ID_AT,
    KEY_ID_BYTES,
    Bound,
    SealBroken,
    Sealed,
    Sealer,
    sealer_in,
    sealer_of,
)
from instrument_registry.sealing.key_file import FILE_NAME, KeyFile
from instrument_registry.sealing.master_keys import KeyText, MasterKeys, MasterKeyUnusable

__all__ = [
    "FILE_NAME",
    "KEY_ID_AT",
    "KEY_ID_BYTES",
    "Bound",
    "KeyFile",
    "KeyText",
    "MasterKeyUnusable",
    "MasterKeys",
    "SealBroken",
    "Sealed",
    "Sealer",
    "sealer_in",
    "sealer_of",
]
