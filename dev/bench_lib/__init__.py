"""What ``make bench`` measures: ratios between DBCalm and the raw tool, taken in turns within one run."""
