"""The verb ``status``: what is issued, due, deployed, on this host."""
