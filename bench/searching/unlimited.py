"""What benchmarks set so that they measure how much is borne, and not how often one key may ask."""

UNLIMITED = {
    f"INSTRUMENT_REGISTRY_RATE_LIMIT_{kind}_PER_{span}": str(most)
    for kind in ("EXPENSIVE", "WRITE", "READ")
    for span, most in (("MINUTE", 1_000_000), ("SECOND", 100_000))
}
