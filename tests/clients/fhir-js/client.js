// Judges an R4 Bundle from standard input by the base specification, code lists included, and prints the errors as JSON.

import { readFileSync } from "node:fs";
import fhir from "fhir";

const bundle = JSON.parse(readFileSync(0, "utf8"));
const { messages } = new fhir.Fhir().validate(bundle, { errorOnUnexpected: true });
console.log(JSON.stringify(messages.filter(({ severity }) => severity === "error" || severity === "fatal")));
