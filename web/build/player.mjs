// One file out of the player's modules. A browser opens six connections to a host that speaks HTTP/1.1, so fifteen
// small modules cost three round trips in front of the first sound; one file with its hash in its name costs one, and
// none the next time. The modules stay as they are for whoever loads them by their own names.
//
// Each module becomes a function that returns what it exports. They keep to a few forms, which is checked here:
// named imports and exports (and the default import of dist/assets.js), no cycles, nothing exported that changes.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const ENTRY = 'digm-player.js';
const ASSETS = './dist/assets.js';
const IMPORT = /^import\s+(?:(\w+)|\{([^}]*)\})\s+from\s+'([^']+)';$/gm;
const EXPORT = /^export\s+((?:async\s+)?function\*?|class|const)\s+(\w+)/gm;
const COMMENT = /^[ \t]*(?:\/\/.*|\/\*\*[^]*?\*\/)[ \t]*\n/gm;
const LEFT_OVER = /^(?:import\s+[^(]|export\s).*$/m;

/**
 * @param {string} folder of the modules. @param {object} assets what dist/assets.js exports.
 * @returns {Promise<string>} a module for static/dist/.
 */
export async function playerBundle(folder, assets) {
  /** @type {Map<string, string>} */
  const written = new Map();
  const open = new Set();

  async function write(name) {
    if (written.has(name)) return;
    if (open.has(name)) throw new Error(`static/${name} imports itself in a circle`);
    open.add(name);
    const source = await readFile(join(folder, name), 'utf8');
    for (const [, , , path] of source.matchAll(IMPORT)) if (path !== ASSETS) await write(path.slice(2));
    written.set(name, wrap(name, source));
  }

  const number = (name) => `$${[...written.keys()].indexOf(name)}`;

  function wrap(name, source) {
    const exported = [...source.matchAll(EXPORT)].map(([, , what]) => what);
    const body = source
      .replace(COMMENT, '')
      .replace(IMPORT, (_, whole, names, path) => {
        if (path === ASSETS) return `const ${whole} = ${JSON.stringify(assets)};`;
        return `const { ${names.trim().replaceAll(' as ', ': ')} } = ${number(path.slice(2))};`;
      })
      .replace(EXPORT, '$1 $2')
      // The addresses of the modules' own folder, seen from static/dist/.
      .replaceAll('import.meta.url', `new URL('../${name}', import.meta.url).href`)
      .replaceAll("import('./", "import('../");
    const odd = LEFT_OVER.exec(body);
    if (odd) throw new Error(`static/${name}: this form is not bundled: ${odd[0]}`);
    return `// ${name}\nconst $${written.size} = (() => {\n${body}\nreturn { ${exported.join(', ')} };\n})();\n`;
  }

  await write(ENTRY);
  return [...written.values()].join('\n');
}
