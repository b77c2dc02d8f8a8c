"""Says how many people stand behind the smallest of some groups, as pycanon counts them: its k-anonymity.

    client.py RECORDS

RECORDS is a file with a JSON list of objects: one for each person of each group, with `dimension`, `value` and `patient`.
"""

import json
import sys

import pandas
from pycanon import anonymity

with open(sys.argv[1]) as file:
    records = pandas.DataFrame(json.load(file)).drop_duplicates()
print(anonymity.k_anonymity(records, ["dimension", "value"]))
