"""Everything outside the process: kernel, files, backup tool."""
