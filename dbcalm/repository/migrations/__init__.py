"""The versions of the catalogue, and how one of an older version is brought up."""
