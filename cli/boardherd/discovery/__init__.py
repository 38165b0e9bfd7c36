"""Finding what hangs on this machine's network and ports; one file per family. Nothing is written to any device.

Every question asked here only reads. A serial port is not even opened: opening moves its control lines, which
resets some boards, and the bytes that would identify a relay stop the boot of a board at the same kind of adapter.
"""
