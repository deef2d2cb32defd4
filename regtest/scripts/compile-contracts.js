// Compiles regtest/contracts/*.sol with the npm package solc and writes, or with --check compares, contracts/compiled/*.hex.
// Called by compile-contracts.sh, which installs the exact compiler version.
"use strict";
const fs = require("fs");
const path = require("path");
const solc = require(path.join(process.argv[2], "node_modules", "solc"));
const check = process.argv.includes("--check");
const folder = path.join(__dirname, "..", "contracts");

const sources = {};
for (const file of fs.readdirSync(folder).filter((name) => name.endsWith(".sol")).sort()) {
  sources[file] = { content: fs.readFileSync(path.join(folder, file), "utf8") };
}
const input = {
  language: "Solidity",
  sources,
  settings: {
    optimizer: { enabled: true, runs: 200 },
    evmVersion: "paris",
    // No metadata hash: the bytes depend on the code alone.
    metadata: { appendCBOR: false, bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const errors = (output.errors || []).filter((error) => error.severity === "error");
if (errors.length > 0) {
  for (const error of errors) console.error(error.formattedMessage);
  process.exit(1);
}
let differing = 0;
for (const file of Object.keys(sources)) {
  const name = path.basename(file, ".sol");
  const code = output.contracts[file][name].evm.bytecode.object + "\n";
  const target = path.join(folder, "compiled", `${name}.hex`);
  if (!check) {
    fs.writeFileSync(target, code);
    console.log(`wrote ${name}.hex (${(code.length - 1) / 2} bytes)`);
  } else if (!fs.existsSync(target) || fs.readFileSync(target, "utf8") !== code) {
    console.error(`${name}.hex differs from what ${file} compiles to: run regtest/scripts/compile-contracts.sh and commit`);
    differing += 1;
  } else {
    console.log(`${name}.hex is what ${file} compiles to`);
  }
}
process.exit(differing === 0 ? 0 : 1);
