# Chips and contacts: bytes and levels in, values out. No pins here, no events, no judgement.
