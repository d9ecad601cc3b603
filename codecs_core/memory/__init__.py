"""Blocks and page runs, and the C kernel that scans, gathers and scatters pages."""
