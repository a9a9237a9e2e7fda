# Layer: values <-> deterministic CBOR. On CPython through cbor2 where it is installed, with the same results and the
# same reasons; everywhere else in plain Python. See cbor_pure for what is spoken and what is refused.
from gatelink.cbor_pure import MAX_DEPTH, MAX_INPUT, Reader

try:
    from gatelink.cbor_host import dumps, loads, loads_sequence
except ImportError:  # no cbor2: a device, or a lean host
    from gatelink.cbor_pure import dumps, loads, loads_sequence

__all__ = ("MAX_DEPTH", "MAX_INPUT", "Reader", "dumps", "loads", "loads_sequence")
