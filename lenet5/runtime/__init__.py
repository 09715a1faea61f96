"""Errors in one line, atomic files, signals and processes; the standard library alone."""
