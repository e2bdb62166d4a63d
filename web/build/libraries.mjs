// What pages use of other people's code beside Pyodide: two files of the noble libraries (MIT), for accounts on the
// chain, which WebCrypto has no curve for. They go to static/dist/noble/ as they come from npm; nothing loads them
// before somebody makes a key in the page.

import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** In static/dist/ -> in node_modules/. */
const FILES = {
  'noble/secp256k1.js': '@noble/secp256k1/index.js',
  'noble/sha3.js': 'noble-hashes/sha3.js',
  'noble/_u64.js': 'noble-hashes/_u64.js',
  'noble/utils.js': 'noble-hashes/utils.js',
};
export const LIBRARIES = Object.keys(FILES);

/** @param {string} modules node_modules/. @param {string} dist where to. */
export async function placeLibraries(modules, dist) {
  await Promise.all(Object.entries(FILES).map(async ([name, from]) => {
    const [data, before] = await Promise.all([
      readFile(join(modules, from)), readFile(join(dist, name)).catch(() => null),
    ]);
    if (before?.equals(data)) return;
    await mkdir(dirname(join(dist, name)), { recursive: true });
    await writeFile(join(dist, `${name}.part`), data);
    await rename(join(dist, `${name}.part`), join(dist, name));
  }));
}
