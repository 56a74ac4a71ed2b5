#!/usr/bin/env python3
from dbcalm_mariadb_cmd.service import main

raise SystemExit(main())
