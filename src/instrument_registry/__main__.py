"""`python -m instrument_registry` is `instrument-registry`."""

from instrument_registry.cli.main import run

if __name__ == "__main__":
    run()
