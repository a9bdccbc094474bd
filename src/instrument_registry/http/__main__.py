"""`python -m instrument_registry.http`: the OpenAPI document as schemas/openapi.json holds it."""

import sys

from instrument_registry.http.app import published

sys.stdout.buffer.write(published())
