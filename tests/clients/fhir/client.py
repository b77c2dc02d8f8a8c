"""Judges a Bundle of AuditEvents from standard input, and prints the verdict as one line of JSON.

fhir.resources decides whether the resources have the form of their version, `R4` or `R5`. For R4, FHIRPath decides
whether each keeps to the profile of IHE BALP that it claims; the expressions follow the published profiles.
"""

import collections
import importlib
import json
import sys

from fhirpathpy import evaluate
from pydantic import ValidationError

# The library has the technical correction of R4, which changed nothing in AuditEvent or Bundle.
PACKAGES = {"R4": "fhir.resources.R4B", "R5": "fhir.resources"}
PROFILES = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."

DICOM = "http://dicom.nema.org/resources/ontology/DCM"
PARTICIPANTS = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
PARTICIPATIONS = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
ENTITIES = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
ROLES = "http://terminology.hl7.org/CodeSystem/object-role"
INTERACTIONS = "http://hl7.org/fhir/restful-interaction"


def agents(*codes):
    either = " or ".join(f"(system = '{system}' and code = '{code}')" for system, code in codes)
    return f"agent.where(type.coding.where({either}).exists())"


def machine(system, code):
    """One agent that is a machine, of this type."""
    slices = agents((system, code))
    return [f"{slices}.count() = 1", f"{slices}.all(who.exists() and network.exists() and media.empty())"]


def person(*codes):
    """One agent at most that is a person, who asked."""
    slices = agents(*((PARTICIPATIONS, code) for code in codes))
    return [
        f"{slices}.count() <= 1",
        f"{slices}.all(who.exists() and requestor = true and network.empty() and media.empty())",
    ]


def entity(kind):
    return f"entity.where(type.system = '{ENTITIES}' and type.code = '{kind}')"


def rest(interaction, action):
    return [
        "type.system = 'http://terminology.hl7.org/CodeSystem/audit-event-type' and type.code = 'rest'",
        f"subtype.where(system = '{INTERACTIONS}' and code = '{interaction}').count() = 1",
        f"action = '{action}'",
        "outcome = '0'",
        "agent.count() >= 2",
        "source.observer.exists()",
        "entity.where(type.code = 'XrequestId').count() <= 1",
        "entity.where(type.code = 'XrequestId').all(what.identifier.value.exists() and detail.empty())",
    ]


DATA = [
    f"{entity(2)}.count() = 1",
    f"{entity(2)}.all(what.exists() and role.system = '{ROLES}' and role.code = '4')",
]
QUERY = [
    f"{entity(2)}.count() = 1",
    f"{entity(2)}.all(what.empty() and detail.empty() and role.system = '{ROLES}' and role.code = '24')",
]
PATIENT = [
    f"{entity(1)}.count() = 1",
    f"{entity(1)}.all(role.system = '{ROLES}' and role.code = '1' and what.type = 'Patient')",
]
WRITES = machine(DICOM, "110153") + machine(DICOM, "110152") + person("AUT", "INF", "CST") + DATA
BALP = {
    "Create": rest("create", "C") + WRITES,
    "Update": rest("update", "U") + WRITES,
    "Read": rest("read", "R")
    + machine(DICOM, "110152")
    + machine(DICOM, "110153")
    + person("IRCP")
    + DATA
    # The other way round than elsewhere: the record leaves the server.
    + [f"{agents((DICOM, '110153'))}.who.display = 'Carelog'"],
    "Query": rest("search-type", "E")
    + machine(DICOM, "110153")
    + machine(DICOM, "110152")
    + person("IRCP")
    + QUERY
    + [f"{agents((DICOM, '110152'))}.who.display = 'Carelog'"],
    "Delete": rest("delete", "D")
    + ["subtype.count() = 1", f"{entity(2)}.all(detail.empty() and name.empty() and lifecycle.empty())"]
    + machine(DICOM, "110150")
    + machine(PARTICIPANTS, "custodian")
    + person("AUT", "INF", "CST")
    + DATA,
    "PrivacyDisclosure.Source": [
        f"type.system = '{DICOM}' and type.code = '110106'",
        "subtype.where(system = 'http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle' and code = 'disclose')"
        ".count() = 1",
        "action = 'R'",
        "outcome.exists()",
        f"{agents((DICOM, '110153'))}.who.identifier.value = source.observer.identifier.value",
        "entity.count() >= 2",
    ]
    + machine(DICOM, "110153")
    + machine(DICOM, "110152")
    + PATIENT,
}
for name in ("Create", "Update", "Read", "Query", "Delete"):
    BALP[f"Patient{name}"] = BALP[name] + PATIENT
EVERY = [
    "agent.where(requestor = true).count() = 1",
    "entity.where(name.exists() and query.exists()).empty()",
    "recorded.exists() and source.observer.exists()",
]


def lacks_query(event):
    """What was searched for: a value, or why there is none."""
    parts = [part for part in event["entity"] if part.get("role", {}).get("code") == "24"]
    return not all("query" in part or "_query" in part for part in parts)


def broken(event):
    claimed = [profile.removeprefix(PROFILES) for profile in event.get("meta", {}).get("profile", [])]
    for expression in EVERY + [rule for profile in claimed for rule in BALP[profile]]:
        if evaluate(event, expression) != [True]:
            yield expression
    if lacks_query(event):
        yield "a query, or why there is none"


version = sys.argv[1]
bundle = json.load(sys.stdin)
verdict = {"refused": None, "events": 0, "profiles": {}, "broken": []}
try:
    parsed = importlib.import_module(f"{PACKAGES[version]}.bundle").Bundle.model_validate(bundle)
    verdict["events"] = sum(type(entry.resource).__name__ == "AuditEvent" for entry in parsed.entry or [])
except ValidationError as error:
    verdict["refused"] = str(error)
if version == "R4" and not verdict["refused"]:
    events = [entry["resource"] for entry in bundle.get("entry", [])]
    claims = (profile for event in events for profile in event.get("meta", {}).get("profile", []))
    verdict["profiles"] = collections.Counter(claim.removeprefix(PROFILES) for claim in claims)
    verdict["broken"] = [[event["id"], rule] for event in events for rule in broken(event)]
print(json.dumps(verdict))
