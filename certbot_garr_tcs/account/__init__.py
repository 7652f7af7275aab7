"""The CA and the ACME account that a run uses."""
