#!/usr/bin/env python3
from dbcalm.cli.main import main

main()
