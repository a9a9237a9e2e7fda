# Layer: values <-> deterministic CBOR. What is spoken and what is refused stands in cbor_pure; on CPython
# cbor2 does the reading where it is installed, with the same results and the same reasons.
from gatelink.cbor_pure import MAX_DEPTH, MAX_INPUT, Reader, dumps

try:
    from gatelink.cbor_host import loads, loads_sequence
except ImportError:  # no cbor2: a device, or a lean host
    from gatelink.cbor_pure import loads, loads_sequence

__all__ = ("MAX_DEPTH", "MAX_INPUT", "Reader", "dumps", "loads", "loads_sequence")
