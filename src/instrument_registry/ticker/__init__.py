"""A ticker: follows the steps of one account and holds its connections to the broker, a process each.

It talks to the registry over HTTP alone, as any other ticker would.
"""
