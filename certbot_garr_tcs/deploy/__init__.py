"""Put a certificate where a service reads it."""
