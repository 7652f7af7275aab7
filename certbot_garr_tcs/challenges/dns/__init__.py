"""Find zones, ask and update name servers, look until a record is there."""
