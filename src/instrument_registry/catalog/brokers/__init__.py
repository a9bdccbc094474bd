"""The publishers we read: one file each, and one row here."""

from instrument_registry.catalog.brokers import (
    aliceblue,
    angel,
    bse,
    bybit,
    dhan,
    fyers,
    iso10383,
    nse,
    nuvama,
    shoonya,
    upstox,
    zerodha,
)
from instrument_registry.catalog.brokers.frame import Broker

BROKERS: dict[str, Broker] = {
    broker.id: broker
    for broker in (
        zerodha.BROKER,
        upstox.BROKER,
        angel.BROKER,
        dhan.BROKER,
        fyers.BROKER,
        shoonya.BROKER,
        aliceblue.BROKER,
        nuvama.BROKER,
        nse.BROKER,
        bse.BROKER,
        iso10383.BROKER,
        bybit.BROKER,
    )
}
