# Chips and contacts: bytes and levels in, values out; and what both roles need besides: config, faults,
# history, hardware. No pins here, no judgement.
