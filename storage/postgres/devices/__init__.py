"""Devices: their streams, cursors, deliveries with manual acks, dead letters, and their removal.

Imported by the service; imports `connections`. docs/manual-acks.md is the page.
"""
