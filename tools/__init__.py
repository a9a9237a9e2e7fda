"""What people run: set up, provision, simulate, look, and the office server."""
