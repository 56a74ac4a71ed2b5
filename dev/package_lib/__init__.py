"""The packages for Debian and for Enterprise Linux, made from what `make binaries` built."""
