"""Gatepost's edge agent: devices on one side, the office on the other, a durable log between them."""
