"""Who answers which command: the whitelist, and what needs no job."""
