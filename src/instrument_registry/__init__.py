"""The one master catalogue of tradable instruments for trading systems."""
