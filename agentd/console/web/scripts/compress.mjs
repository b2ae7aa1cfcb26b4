// Writes a .gz and a .br beside every text file of a folder, so that the console never compresses while it serves.
//
// Usage: node compress.mjs FOLDER
// A compressed file that would not be smaller is left out.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const [root] = process.argv.slice(2);
if (!root) {
  console.error("usage: node compress.mjs FOLDER");
  process.exit(2);
}

const TEXT = /\.(html|js|css|svg|json|txt|webmanifest)$/;
const files = readdirSync(root, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && TEXT.test(entry.name))
  .map((entry) => join(entry.parentPath, entry.name))
  .sort();

const total = { raw: 0, gz: 0, br: 0 };
for (const file of files) {
  const raw = readFileSync(file);
  const gz = gzipSync(raw, { level: 9 });
  const br = brotliCompressSync(raw, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
      [constants.BROTLI_PARAM_SIZE_HINT]: raw.length,
    },
  });
  if (gz.length < raw.length) writeFileSync(`${file}.gz`, gz);
  if (br.length < raw.length) writeFileSync(`${file}.br`, br);
  total.raw += raw.length;
  total.gz += Math.min(gz.length, raw.length);
  total.br += Math.min(br.length, raw.length);
  row(relative(root, file), raw.length, gz.length, br.length);
}
row("all", total.raw, total.gz, total.br);

function row(name, ...sizes) {
  console.log(name.padEnd(36) + sizes.map((size) => String(size).padStart(9)).join(""));
}
