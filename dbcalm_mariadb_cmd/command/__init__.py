"""What other packages may know of the mysql service: its requests, and the words that they share."""
