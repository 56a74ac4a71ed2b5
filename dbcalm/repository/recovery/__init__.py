"""Opening the catalogue, and what is done about one that is damaged, lost or behind its copies."""
