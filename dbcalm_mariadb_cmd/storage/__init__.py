"""How the bytes of a backup are stored: folders and streams, compressed and encrypted."""
