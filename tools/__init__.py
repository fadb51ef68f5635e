"""Writes what the repository derives from its own code: stubs, the API reference, the guarantees with their tests."""
