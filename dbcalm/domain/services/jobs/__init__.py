"""Jobs of the mysql service: started, followed, and given what only root can do."""
