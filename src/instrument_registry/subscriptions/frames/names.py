"""What brokers' sockets call the parts of the market, where that is not what their dumps say."""

DHAN = {
    "NSE_E": "NSE_EQ", "NSE_D": "NSE_FNO", "NSE_C": "NSE_CURRENCY", "NSE_I": "IDX_I",
    "BSE_E": "BSE_EQ", "BSE_D": "BSE_FNO", "BSE_C": "BSE_CURRENCY", "BSE_I": "IDX_I", "MCX_M": "MCX_COMM",
}  # fmt: skip
ANGEL = {
    "NSE": "nse_cm", "NFO": "nse_fo", "BSE": "bse_cm", "BFO": "bse_fo", "MCX": "mcx_fo", "NCDEX": "ncx_fo",
    "CDS": "cde_fo",
}  # fmt: skip


# Their sockets call indices by names that stand in a table of theirs, and not in their dumps.
WITHOUT_INDICES = frozenset({"fyers"})


def segment_on_wire(broker: str, segment: str, *, index: bool = False) -> str | None:
    """What a broker's socket calls a segment of its dump; None where it carries nothing of it, or no index."""
    if index and broker in WITHOUT_INDICES:
        return None
    names = {"dhan": DHAN, "angel": ANGEL}.get(broker)
    return segment if names is None else names.get(segment)
