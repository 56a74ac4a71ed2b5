"""The database server: asked, found, and run on restored data."""
