"""Setting a clone up and checking it."""
