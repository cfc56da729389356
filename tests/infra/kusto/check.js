// Reads {tables: {name: schema}, queries: [text]} from standard input; prints, for each query, what is wrong with it.
"use strict";
const { createRequire } = require("node:module");
const [installed] = process.argv.slice(2);
const load = createRequire(`${installed}/`);
load("@kusto/language-service-next/bridge.min.js");
load("@kusto/language-service-next/Kusto.Language.Bridge.min.js");

const { GlobalState, KustoCode, Symbols } = Kusto.Language;
const { tables, queries } = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const symbols = Object.entries(tables).map(([name, schema]) => new Symbols.TableSymbol.$ctor7(name, schema, null));
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("workspace", symbols));

function complaints(query) {
  const found = KustoCode.ParseAndAnalyze(query, globals).GetDiagnostics();
  return Array.from({ length: found.Count }, (_, at) => found.getItem(at).Message);
}

process.stdout.write(JSON.stringify(queries.map(complaints)));
