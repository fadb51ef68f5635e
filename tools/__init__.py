"""Writes what the repository derives from the library's own code: stubs for editors, and the API reference."""
