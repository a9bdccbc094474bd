"""The HTTP door: translates, opens the transaction, answers."""
