"""Everything outside the process: kernel, files, journal, backup tool, database server."""
