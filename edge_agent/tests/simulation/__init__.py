"""Devices, links, edge and office in virtual time, with faults from a seed; see edge_agent/README.md, "Simulation"."""
