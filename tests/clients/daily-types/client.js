// Prints the properties of rooms and tokens that the vendor's own package declares, each with the kind of its value.
const fs = require("fs");
const path = require("path");

const declared = fs.readFileSync(path.join(__dirname, "node_modules/@daily-co/daily-js/index.d.ts"), "utf8");

function kindOf(type) {
  if (type === "boolean" || type === "number" || type === "string") return type;
  if (type.includes("DailyLanguageSetting")) return "string";
  if (/^Daily(RecordingsBucket|StreamingOptions)\b/.test(type)) return "object";
  throw new Error(`a type of which nothing is known: ${type}`);
}

/* What no longer has an effect is left out. */
function fieldsOf(part) {
  const room = declared.split("export interface DailyRoomInfo {")[1].split("\n}")[0];
  const body = room.split(`\n  ${part}: {\n`)[1].split("\n  };")[0];
  const fields = body.matchAll(/(\/\*\*(?:(?!\*\/)[\s\S])*\*\/\s*)?^ {4}(\w+)\?: (.*);$/gm);
  return Object.fromEntries(
    Array.from(fields)
      .filter(([, comment]) => !comment || !comment.includes("@deprecated"))
      .map(([, , name, type]) => [name, kindOf(type)]),
  );
}

console.log(JSON.stringify({ room: fieldsOf("config"), token: fieldsOf("tokenConfig") }));
