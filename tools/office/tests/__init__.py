"""Tests of the office server; makers.py makes signed events, process.py runs the real server."""
