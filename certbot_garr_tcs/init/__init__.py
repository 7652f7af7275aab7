"""The verb ``init``: from the portal's strings to a garr-tcs.ini."""
