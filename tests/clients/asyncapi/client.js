// Judges an AsyncAPI 3.0 document from standard input by the schema that the AsyncAPI initiative publishes, and prints the
// errors as JSON.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import Ajv from "ajv";
import addFormats from "ajv-formats";

const specs = createRequire(import.meta.url)("@asyncapi/specs");
// The bundle brings the meta-schema of JSON Schema along.
const ajv = new Ajv({ allErrors: true, strict: false, meta: false, validateSchema: false });
addFormats(ajv);
const judge = ajv.compile(specs.schemas["3.0.0"]);
judge(JSON.parse(readFileSync(0, "utf8")));
console.log(JSON.stringify((judge.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`)));
