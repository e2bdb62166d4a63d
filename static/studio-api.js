// How the studio's page talks to the studio, and small things to build a page from.

const KEY = 'digm-studio-key';

/** Take the page key out of the address. @returns {boolean} whether there is one. */
export function keepKey() {
  if (location.hash.length > 20) {
    sessionStorage.setItem(KEY, location.hash.slice(1));
    history.replaceState(null, '', '/');
  }
  return sessionStorage.getItem(KEY) !== null;
}

/**
 * Ask the studio.
 * @param {string} method @param {string} path @param {unknown} [body] a File or Blob as it is, else JSON
 * @param {Record<string, string>} [more] headers
 * @returns {Promise<any>} what it answers
 * @throws {Error} with the studio's sentence
 */
export async function ask(method, path, body, more) {
  const answer = await send(method, path, body, more);
  return answer.json();
}

/** The same, for an answer that is a file. @returns {Promise<Response>} */
export async function send(method, path, body, more = {}) {
  const headers = { ...more, 'X-DIGM-Studio': sessionStorage.getItem(KEY) ?? '' };
  const isFile = body instanceof Blob;
  if (body !== undefined && !isFile) headers['Content-Type'] = 'application/json';
  let answer;
  try {
    answer = await fetch(path, {
      method, headers, cache: 'no-store', credentials: 'same-origin', redirect: 'error',
      body: isFile ? body : body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error('The studio does not answer: is digm studio still running?');
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => null);
    throw new Error(said?.error?.message ?? `The studio answers with status ${answer.status}.`);
  }
  return answer;
}

/**
 * An element.
 * @param {string} name @param {Record<string, any>} [about] attributes; `on…` listeners, `text` content
 * @param {...(Node | string | null | undefined | false)} children
 */
export function el(name, about = {}, ...children) {
  const made = document.createElement(name);
  for (const [what, value] of Object.entries(about)) {
    if (what === 'text') made.textContent = value;
    else if (what.startsWith('on')) made.addEventListener(what.slice(2), value);
    else if (value === true) made.setAttribute(what, '');
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(what, String(value));
  }
  made.append(...children.filter((child) => child || child === 0));
  return made;
}

/** A drawing of one path. @param {string} path @param {string} [kind] class */
export function icon(path, kind = 'icon') {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', kind);
  svg.setAttribute('aria-hidden', 'true');
  const line = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  line.setAttribute('d', path);
  svg.append(line);
  return svg;
}

/** @param {number} seconds @returns {string} 3:07 */
export function clock(seconds) {
  const whole = Math.floor(seconds || 0);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

/** Write text only where it is another one. @param {Element} where @param {string} text */
export function write(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

/** Whose colour a cover that is not there has. @param {string} name */
export function hue(name) {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 997;
  return sum % 12;
}

/** A cover, or a quiet stand-in, as the listener's pages have it. */
export function artwork(url, title) {
  if (url) return el('img', { class: 'cover', src: url, alt: '', decoding: 'async' });
  const initial = ((title || '?').trim() || '?')[0].toUpperCase();
  return el('span', { class: `cover cover-none hue-${hue(title || '?')}`, 'aria-hidden': 'true', text: initial });
}
