// Keeps the operator's page up to date in place: asks for the page again and changes only what is different, so that
// focus, scrolling and the reader's place stay. Without this script the page reloads itself.

const EVERY_MS = 2000;
const AFTER_FAILURE_MS = 5000;
const ANSWER_WITHIN_MS = 10_000;

const stale = document.getElementById('stale');
let heardAt = new Date();

/** @param {Node} node @returns {string | null} what it is recognised by among its siblings. */
const keyOf = (node) => (node instanceof Element ? node.getAttribute('data-key') : null);

/**
 * Make one node like another one.
 * @param {Node} here in the page. @param {Node} wanted in the new page.
 */
function morph(here, wanted) {
  if (here.nodeType !== wanted.nodeType || here.nodeName !== wanted.nodeName) {
    here.parentNode.replaceChild(document.importNode(wanted, true), here);
    return;
  }
  if (!(here instanceof Element)) {
    if (here.nodeValue !== wanted.nodeValue) here.nodeValue = wanted.nodeValue;
    return;
  }
  for (const { name } of [...here.attributes]) {
    if (!wanted.hasAttribute(name)) here.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (here.getAttribute(name) !== value) here.setAttribute(name, value);
  }
  morphChildren(here, wanted);
}

/** @param {Element} here @param {Element} wanted */
function morphChildren(here, wanted) {
  const keyed = new Map([...here.childNodes].filter(keyOf).map((child) => [keyOf(child), child]));
  const kept = new Set([...wanted.childNodes].map(keyOf).filter(Boolean));
  let place = here.firstChild;
  for (const child of [...wanted.childNodes]) {
    const key = keyOf(child);
    // Whoever is in the way and will not come again goes.
    while (place && keyOf(place) && !kept.has(keyOf(place))) place = removed(place);
    const known = key ? keyed.get(key) : place && !keyOf(place) ? place : null;
    if (!known) {
      here.insertBefore(document.importNode(child, true), place);
    } else if (known === place) {
      place = place.nextSibling;
      morph(known, child);
    } else {
      here.insertBefore(known, place);
      morph(known, child);
    }
  }
  while (place) place = removed(place);
}

/** @param {ChildNode} node @returns {ChildNode | null} its neighbour. */
function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

async function update() {
  const answer = await fetch(location.pathname, { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const wanted = new DOMParser().parseFromString(await answer.text(), 'text/html');
  for (const part of document.querySelectorAll('[data-live]')) {
    const newer = wanted.getElementById(part.id);
    if (newer) morph(part, newer);
  }
  light();
}

/** @param {string} text said only when it is new: it is read out. */
function say(text) {
  if (stale.textContent !== text) stale.textContent = text;
}

async function live() {
  for (;;) {
    let failed = false;
    if (document.visibilityState === 'visible') {
      try {
        await update();
        heardAt = new Date();
        say('');
      } catch {
        failed = true;
        say(`This is what was so at ${heardAt.toLocaleTimeString()}: the hub does not answer. Trying again.`);
      }
    }
    await new Promise((resolve) => { setTimeout(resolve, failed ? AFTER_FAILURE_MS : EVERY_MS); });
  }
}

// What the pointer or the keyboard is on, a track or a node, is lit everywhere.
let lit = null;

/** @param {Event} event */
function point({ target }) {
  const owner = target instanceof Element ? target.closest('tr[data-root], [data-node], .star') : null;
  const root = owner?.closest('tr[data-root]')?.getAttribute('data-root') ?? null;
  const node = owner?.getAttribute('data-node') ?? (owner?.matches('.star') ? keyOf(owner) : null);
  lit = root || node ? { root, node } : null;
  light();
}

function light() {
  for (const star of document.querySelectorAll('.star')) {
    const holds = lit?.root && star.getAttribute('data-roots').split(' ').includes(lit.root);
    star.classList.toggle('dim', lit !== null && !(lit.root ? holds : keyOf(star) === lit.node));
    star.classList.toggle('lit', lit !== null && keyOf(star) === lit.node);
  }
  for (const cell of document.querySelectorAll('[data-node]')) {
    cell.classList.toggle('lit', lit !== null && cell.getAttribute('data-node') === lit.node);
  }
}

for (const kind of ['pointerover', 'focusin']) document.addEventListener(kind, point);
document.addEventListener('visibilitychange', () => { if (document.visibilityState === 'visible') update().catch(() => {}); });
live();
