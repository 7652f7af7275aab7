"""Solvers: prove control of names to the CA."""
