"""What DBCalm is about: its entities, its rules, and its services, which are all that the system does.

Nothing here knows of HTTP, SQL or sockets; what the services need from outside stands in ``ports``.
"""
