"""Commands that are advised in more than one place, whole, so that they do what they say as they are printed.

Everywhere in sentences a command ends the sentence, or is followed by ``;``, ``,`` or ``)``: so whoever reads it knows
what to type, and a test finds it and tries it.
"""

ADD_FULL = "dbcalm schedules add full --frequency daily --hour 2 --minute 30"
ADD_INCREMENTAL = "dbcalm schedules add incremental --frequency hourly --minute 15"
ADD_VERIFY = "dbcalm schedules add verify --frequency weekly --day-of-week 0 --hour 5 --minute 30"

MAKE_FULL = "dbcalm backup full"
