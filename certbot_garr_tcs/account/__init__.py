"""Which CA, and as whom."""
