#!/usr/bin/env python3
from dbcalm_cmd.service import main

raise SystemExit(main())
