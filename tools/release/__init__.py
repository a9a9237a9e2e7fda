"""Makes firmware versions: compiles a role, lists its files, signs the list. A version is a folder of files."""
