# Prints the partial IVs of three frames of each boot, and sleeps deep in between.
import machine
from esp32 import NVS
from gatelink import cose
from node.keystore import KeyStore

store = KeyStore(NVS("gatepost"))
store.next_boot()
for _ in range(3):
    frame = cose.seal(store.keys, cose.UP, store.next_piv(), b"x")
    print("piv", cose.peek(frame)[1], machine.reset_cause())
machine.deepsleep(1000)
