"""How DBCalm asks the mysql service."""

from dbcalm_mariadb_cmd_client.client import MariadbCmdClient

__all__ = ["MariadbCmdClient"]
