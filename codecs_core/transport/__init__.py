"""Addresses in QEMU's spelling, and the byte streams they lead to."""
