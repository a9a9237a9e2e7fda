"""Makes firmware versions: compiles a role, lists its files, signs the list."""
