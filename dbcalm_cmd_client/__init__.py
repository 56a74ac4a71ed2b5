"""How DBCalm asks the root service, and the one transport that all its clients share."""

from dbcalm_cmd_client.client import CmdClient
from dbcalm_cmd_client.transport import Answer, ServiceUnreachable, call

__all__ = ["Answer", "CmdClient", "ServiceUnreachable", "call"]
