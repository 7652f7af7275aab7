"""The DNS for dns-01: find zones, ask and update name servers, wait until a record is visible."""
