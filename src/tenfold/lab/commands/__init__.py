"""Verbs of one method, on the user's own data; a module a verb."""
