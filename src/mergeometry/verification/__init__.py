"""Holds an output against its run record: every file and tensor hashed again, every difference listed."""
