"""Faults: kills, failing disks, cut power, bad lines, an office that goes; each drill prints what it counted."""
