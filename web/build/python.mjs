// The two things that only a running Pyodide can make: compiled modules and a picture of its memory.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const PYTHON = new URL('./bundle.py', import.meta.url);

/** @param {string} pyodideFolder @param {object} options */
async function load(pyodideFolder, options) {
  const { loadPyodide } = await import(pathToFileURL(join(pyodideFolder, 'pyodide.mjs')).href);
  const { info } = JSON.parse(await readFile(join(pyodideFolder, 'pyodide-lock.json'), 'utf8'));
  // No package is ever installed at run time, so the lock file lists none.
  return loadPyodide({ lockFileContents: { info, packages: {} }, ...options });
}

/**
 * Compile the modules that the player uses, the standard library's included, into one stored zip.
 * @param {string} pyodideFolder
 * @param {{name: string, source: string}[]} sources
 * @param {string[]} later names of sources that go into a zip of their own, with what only they use.
 * @returns {Promise<{zip: Uint8Array, laterZip: Uint8Array, modules: string[]}>} and the names of digm's and web's modules
 *   in the first one.
 */
export async function bundle(pyodideFolder, sources, later) {
  const pyodide = await load(pyodideFolder, {});
  pyodide.FS.mkdirTree('/sources');
  for (const { name, source } of sources) {
    pyodide.FS.mkdirTree(`/sources/${name.slice(0, name.lastIndexOf('/'))}`);
    pyodide.FS.writeFile(`/sources/${name}`, source);
  }
  pyodide.runPython(await readFile(PYTHON, 'utf8'));
  const write = pyodide.globals.get('write_bundles');
  const modules = write('/sources', pyodide.toPy(later), '/bundle.zip', '/later.zip').toJs();
  return { zip: pyodide.FS.readFile('/bundle.zip'), laterZip: pyodide.FS.readFile('/later.zip'), modules };
}

/**
 * The interpreter's memory after all modules of the bundle were imported, without its trailing zeros.
 * @param {string} pyodideFolder
 * @param {Uint8Array} zip
 * @param {string[]} modules
 * @returns {Promise<Uint8Array>}
 */
export async function snapshot(pyodideFolder, zip, modules) {
  const folder = await mkdtemp(join(tmpdir(), 'digm-build-'));
  try {
    const stdLibURL = join(folder, 'bundle.zip');
    await writeFile(stdLibURL, zip);
    const env = { HOME: '/home/pyodide', PYTHONHASHSEED: '0' };
    const pyodide = await load(pyodideFolder, { _makeSnapshot: true, stdLibURL, env });
    pyodide.runPython([...modules.map((name) => `import ${name}`), 'import gc', 'gc.collect()', 'gc.freeze()'].join('\n'));
    const memory = pyodide.makeMemorySnapshot();
    let end = memory.length;
    while (end > 0 && memory[end - 1] === 0) end -= 1;
    return memory.slice(0, Math.ceil(end / 4) * 4); // the loader reads its header as 32-bit words
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
