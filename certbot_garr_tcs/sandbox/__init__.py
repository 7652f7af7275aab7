"""Practise on a CA of one's own, on this machine, before there is an account at the real one."""
