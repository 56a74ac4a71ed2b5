"""Commands about users and clients."""
