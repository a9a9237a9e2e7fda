# What passes between a device, the edge agent and the office; one codec for CPython and MicroPython.
# Import the modules one by one (gatelink.cbor, gatelink.cose, ...): a device then loads only what it uses.
