"""Says how few people stand behind some groups and how little they differ, as pycanon counts it: k-anonymity, l-diversity.

    client.py RECORDS

RECORDS is a file with a JSON list of objects: one for each status of each person of each group, with `dimension`, `value`,
`patient` and `status`.
"""

import json
import sys

import pandas
from pycanon import anonymity

GROUP = ["dimension", "value"]

with open(sys.argv[1]) as file:
    records = pandas.DataFrame(json.load(file)).drop_duplicates(ignore_index=True)
people = records.drop(columns="status").drop_duplicates(ignore_index=True)
print(anonymity.k_anonymity(people, GROUP), anonymity.l_diversity(records, GROUP, ["status"]))
