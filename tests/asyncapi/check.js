// Reads an AsyncAPI document with the reference parser; prints its errors and exits 1 if there are any.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const errors = diagnostics.filter((entry) => entry.severity === 0);
for (const entry of errors) console.log(`${entry.path.join(".")}: ${entry.message}`);
process.exit(errors.length ? 1 : 0);
