// Static compression: a .br and a .gz beside each file, so that no server compresses anything at run time.

import { existsSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import zlib from 'node:zlib';

const brotli = promisify(zlib.brotliCompress);
const gzip = promisify(zlib.gzip);

// Quality 11 on the 9.6 MB interpreter takes 20 s of a core for 5 % fewer bytes than 10.
const LARGE_BYTES = 4_000_000;
// DIGM_BROTLI_QUALITY=4 makes a quick build while working on the player; what ships is built without it.
const FORCED_QUALITY = Number(process.env.DIGM_BROTLI_QUALITY) || null;

/**
 * @param {string[]} paths files to compress; those whose compressed forms exist (same hash, same bytes) are left alone.
 */
export async function compressBeside(paths) {
  await Promise.all(paths.map(async (path) => {
    if (existsSync(`${path}.br`) && existsSync(`${path}.gz`)) return;
    const data = await readFile(path);
    const { constants } = zlib;
    const options = {
      params: {
        [constants.BROTLI_PARAM_QUALITY]: FORCED_QUALITY ?? (data.length > LARGE_BYTES ? 10 : 11),
        [constants.BROTLI_PARAM_LGWIN]: 24,
        [constants.BROTLI_PARAM_SIZE_HINT]: data.length,
      },
    };
    const [br, gz] = await Promise.all([brotli(data, options), gzip(data, { level: 9 })]);
    await place(`${path}.br`, br);
    await place(`${path}.gz`, gz);
  }));
}

async function place(path, data) {
  await writeFile(`${path}.part`, data);
  await rename(`${path}.part`, path);
}
