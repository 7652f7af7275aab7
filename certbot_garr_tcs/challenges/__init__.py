"""Prove control of names."""
