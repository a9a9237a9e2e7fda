"""Devices that run for years: a week of work, the heap it needs, and what each event costs."""
