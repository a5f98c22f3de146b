"""The studies, one module each, found by name; nothing here imports them."""
