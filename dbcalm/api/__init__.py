"""HTTP: its words for what the services do, who may ask, and the server. What can be asked stands in ``routes``."""
