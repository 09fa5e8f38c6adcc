"""Thousands of sockets that lose their node at once: how long until each is back, and whether any has a gap."""
