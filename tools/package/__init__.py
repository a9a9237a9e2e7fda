"""What is installed on a Raspberry Pi: units, Debian package, versions side by side."""
