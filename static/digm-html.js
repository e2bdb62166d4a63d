// Elements out of code, for the pages' own parts: nothing is ever parsed as HTML, so titles stay texts.

/**
 * @param {string} name `tag.class.class`
 * @param {Record<string, any> | null} [attributes] functions are listeners (`onclick`), true and false switch.
 * @param {...(Node | string | null | false | undefined | (Node | string)[])} children
 * @returns {HTMLElement}
 */
export function h(name, attributes = null, ...children) {
  const [tag, ...classes] = name.split('.');
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(' ');
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (typeof value === 'function') element.addEventListener(key.slice(2), value);
    else if (typeof value === 'boolean') element.toggleAttribute(key, value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child || child === ''));
  return element;
}

const SEEN_FOR_MS = 700;
let seenSince = document.visibilityState === 'visible' && document.hasFocus() ? performance.now() : Infinity;
const look = () => {
  const isSeen = document.visibilityState === 'visible' && document.hasFocus();
  if (!isSeen) seenSince = Infinity;
  else if (seenSince === Infinity) seenSince = performance.now();
};
for (const type of ['focus', 'blur', 'pageshow']) addEventListener(type, look);
document.addEventListener('visibilitychange', look);

/**
 * A listener for what costs money. It does nothing in a frame, for events that no person made, and in a window that
 * came up under the pointer a moment ago: a page that opens it on the first half of a double click gains nothing.
 * @param {(event: Event) => void} action
 */
export const deliberate = (action) => (/** @type {Event} */ event) => {
  look();
  if (!event.isTrusted || globalThis.top !== globalThis || performance.now() - seenSince < SEEN_FOR_MS) return;
  action(event);
};
