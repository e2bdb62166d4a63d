// Builds what the browser loads to run Python: `npm run build`.
//
// Out of node_modules/pyodide, digm/ and web/ it makes, in static/dist/:
//   pyodide-<hash>/   Pyodide's loader and interpreter, as they come from npm
//   digm-<hash>.zip   the standard library modules in use, digm and web, compiled (the fallback)
//   digm-saving-<hash>.zip  the modules that make files of tracks, for who saves one
//   digm-<hash>.bin   the interpreter's memory after all of that was imported (the fast path)
//   digm-player-<hash>.js  the player's modules in one file
//   noble/            two libraries for accounts on the chain, as they come from npm
//   assets.js[on]     where they are
// each with a .br and a .gz beside it. Nothing is done when no input has changed.

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

import { compressBeside } from './compress.mjs';
import { LIBRARIES, placeLibraries } from './libraries.mjs';
import { playerBundle } from './player.mjs';
import { bundle, snapshot } from './python.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const PYODIDE = join(ROOT, 'node_modules', 'pyodide');
const DIST = join(ROOT, 'static', 'dist');
const BUILDERS = join(ROOT, 'web', 'build');
const LOCK = join(ROOT, 'static', '.building');
const LOCK_IS_STALE_MS = 300_000;
const LOADER_FILES = ['pyodide.mjs', 'pyodide.asm.mjs', 'pyodide.asm.wasm'];

/** @param {...(string | Uint8Array)} parts */
const hashOf = (...parts) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex').slice(0, 16);
};

// What only hubs and nodes do: a page would download it for nothing. (One name a line: they are added by many.)
const NOT_FOR_PAGES = new Set([
  'digm/chain_pins.py',
  'digm/chain_sales.py',
  'digm/chain_scan.py',
  'digm/chain_sentences.py',
  'digm/chain_story.py',
  'digm/chain_story_sales.py',
  'digm/chain_tracks.py',
  'digm/delivering.py',
  'digm/keeping.py',
  'digm/sign_in.py',
]);
// What only makes files of tracks: a page fetches it when somebody saves one (static/music-saving.js).
const FOR_SAVING = new Set([
  'digm/containers.py',
  'digm/mpeg_frames.py',
  'digm/ogg.py',
  'digm/plain_text.py',
  'digm/tags.py',
  'digm/unpacking.py',
  'digm/whole_mp4.py',
  'web/saving.py',
]);

/**
 * The Python sources that go to the browser.
 * @returns {Promise<{name: string, source: string}[]>} names are paths such as `digm/merkle.py`, sorted.
 */
async function pythonSources() {
  const found = [];
  for (const room of ['digm', 'web']) {
    const entries = await readdir(join(ROOT, room), { recursive: true, withFileTypes: true });
    for (const entry of entries) {
      if (!entry.isFile() || !entry.name.endsWith('.py')) continue;
      const path = join(entry.parentPath ?? entry.path, entry.name);
      if (path.startsWith(BUILDERS)) continue;
      const name = relative(ROOT, path);
      if (!NOT_FOR_PAGES.has(name)) found.push({ name, source: await readFile(path, 'utf8') });
    }
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Hash of everything the result depends on: sources, Pyodide, this build and Node's compressors. */
async function inputsHash(sources) {
  const builders = (await readdir(BUILDERS)).filter((name) => /\.(mjs|py)$/.test(name)).sort();
  const parts = [process.version, await readFile(join(PYODIDE, 'package.json'))];
  for (const name of builders) parts.push(name, await readFile(join(BUILDERS, name)));
  for (const { name, source } of sources) parts.push(name, source);
  return hashOf(...parts);
}

/** What the last build wrote. @returns {Promise<{inputs?: string, files: string[]}>} */
async function lastBuild() {
  try {
    return JSON.parse(await readFile(join(DIST, 'assets.json'), 'utf8'));
  } catch {
    return { files: [] };
  }
}

/** Whether static/dist/ already holds the result for these inputs. */
function isBuilt(inputs, last) {
  return last.inputs === inputs && last.files.every((name) => existsSync(join(DIST, name)));
}

/** One build at a time: two would take each other's files for leftovers. */
async function withLock(work) {
  await mkdir(dirname(LOCK), { recursive: true });
  for (;;) {
    try {
      await mkdir(LOCK);
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      const since = await stat(LOCK).then(({ mtimeMs }) => mtimeMs, () => Date.now());
      if (Date.now() - since > LOCK_IS_STALE_MS) await rm(LOCK, { recursive: true, force: true });
      else await new Promise((resolve) => { setTimeout(resolve, 200); });
    }
  }
  try {
    await work();
  } finally {
    await rm(LOCK, { recursive: true, force: true });
  }
}

/** Write through a temporary name, so that an interrupted build never leaves half a file behind. */
async function place(path, data) {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.part`, data);
  await rename(`${path}.part`, path);
}

async function build() {
  const started = performance.now();
  await placeLibraries(join(ROOT, 'node_modules'), DIST);
  const sources = await pythonSources();
  const inputs = await inputsHash(sources);
  const last = await lastBuild();
  if (isBuilt(inputs, last)) {
    const { snapshotBytes, pyodide, bundle: zipName, saving, snapshot: memoryName } = last;
    const urls = { snapshotBytes, pyodide, bundle: zipName, saving, snapshot: memoryName };
    const isNew = await writePlayer(urls, last);
    console.log(isNew ? 'static/dist: the player is new' : 'static/dist is up to date');
    return;
  }
  const { zip, laterZip, modules } = await bundle(PYODIDE, sources, [...FOR_SAVING]);
  const memory = await snapshot(PYODIDE, zip, modules);
  const loader = await Promise.all(LOADER_FILES.map((name) => readFile(join(PYODIDE, name))));
  const loaderFolder = `pyodide-${hashOf(...loader)}`;
  const bundleName = `digm-${hashOf(zip)}.zip`;
  const savingName = `digm-saving-${hashOf(laterZip)}.zip`;
  const snapshotName = `digm-${hashOf(memory)}.bin`;
  const outputs = new Map([
    ...LOADER_FILES.map((name, i) => [`${loaderFolder}/${name}`, loader[i]]),
    [bundleName, zip],
    [savingName, laterZip],
    [snapshotName, memory],
  ]);
  for (const [name, data] of outputs) {
    if (!existsSync(join(DIST, name))) await place(join(DIST, name), data);
  }
  await compressBeside([...outputs.keys()].map((name) => join(DIST, name)));

  const files = [...outputs.keys()].flatMap((name) => [name, `${name}.br`, `${name}.gz`]);
  const names = { bundle: bundleName, saving: savingName, snapshot: snapshotName };
  const urls = { snapshotBytes: memory.length, pyodide: `${loaderFolder}/`, ...names };
  const sizes = { bundle: zip.length, snapshot: memory.length };
  await place(join(DIST, 'assets.js'), `export default ${JSON.stringify(urls)};\n`);
  await writePlayer(urls, { inputs, sizes, files });
  // The last build's files stay until the next one: pages that were opened before this one still ask for them.
  const now = await lastBuild();
  await removeStale(new Set([...now.files, ...last.files, 'assets.js', 'assets.json', ...LIBRARIES]));
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`static/dist built in ${seconds} s: ${modules.length} modules, ` +
    `bundle ${zip.length} bytes, snapshot ${memory.length} bytes`);
}

/**
 * Write the player's modules as one file, and assets.json, which names it.
 * @param {object} urls what assets.js exports. @param {any} about the rest of assets.json.
 * @returns {Promise<boolean>} whether it changed.
 */
async function writePlayer(urls, { inputs, sizes, files, player: before }) {
  const code = await playerBundle(join(ROOT, 'static'), urls);
  const player = `digm-player-${hashOf(code)}.js`;
  if (player === before && existsSync(join(DIST, player))) return false;
  await place(join(DIST, player), code);
  await compressBeside([join(DIST, player)]);
  const others = files.filter((name) => !name.startsWith('digm-player-'));
  const all = [...others, player, `${player}.br`, `${player}.gz`];
  const about = { ...urls, player, inputs, sizes, files: all };
  await place(join(DIST, 'assets.json'), `${JSON.stringify(about, null, 1)}\n`);
  return true;
}

/** Delete what builds before the last one left in static/dist/. */
async function removeStale(kept) {
  for (const entry of await readdir(DIST, { recursive: true, withFileTypes: true })) {
    const name = relative(DIST, join(entry.parentPath ?? entry.path, entry.name));
    const isKept = entry.isFile() ? kept.has(name) : [...kept].some((file) => file.startsWith(`${name}/`));
    if (!isKept) await rm(join(DIST, name), { recursive: true, force: true });
  }
}

await withLock(build);
