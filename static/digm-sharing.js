// What a listener decides about giving: settings of this origin, attributes of one player, and the menu for them.
// What follows from them is decided in Python (web/sharing.py, digm/upload_manners.py). The menu uses nothing of
// the player but its public `sharing`, `stats` and events.

import { Reports } from './digm-reports.js';

const KEY = 'digm.sharing';

/**
 * @typedef {object} SharingSettings
 * @property {boolean} share give to other listeners; without it the player only takes.
 * @property {number} cap_bytes_per_s over all connections; 0: no cap.
 * @property {boolean} hide_address connect through relays only.
 * @property {boolean} report tell the site how it went (counts and times, no names).
 * @property {boolean} receipts sign for who gave to us, where the site collects that.
 */

/** @type {SharingSettings} */
const DEFAULTS = { share: true, cap_bytes_per_s: 0, hide_address: false, report: false, receipts: false };

/** One for all players of the origin, in all tabs; where nothing can be stored it lasts as long as the page. */
class Settings extends EventTarget {
  /** @type {SharingSettings} */
  #values;

  constructor() {
    super();
    this.#values = stored();
    addEventListener('storage', ({ key }) => {
      if (key === KEY) this.#take(stored());
    });
  }

  get values() { return { ...this.#values }; }

  /** @param {Partial<SharingSettings>} patch what is not understood is left out. */
  change(patch) {
    this.#take(checked({ ...this.#values, ...patch }));
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#values));
    } catch { /* an embed without an origin of its own, or storage that is switched off */ }
  }

  #take(values) {
    this.#values = values;
    this.dispatchEvent(new Event('change'));
  }
}

/** @returns {SharingSettings} */
function stored() {
  try {
    return checked(JSON.parse(localStorage.getItem(KEY) ?? '{}'));
  } catch {
    return { ...DEFAULTS };
  }
}

/** @param {any} values @returns {SharingSettings} */
function checked(values) {
  const result = { ...DEFAULTS };
  for (const name of ['share', 'hide_address', 'report', 'receipts']) {
    if (typeof values?.[name] === 'boolean') result[name] = values[name];
  }
  const cap = values?.cap_bytes_per_s;
  if (Number.isFinite(cap) && cap >= 0) result.cap_bytes_per_s = Math.min(Math.floor(cap), 2 ** 32 - 1);
  return result;
}

const settings = new Settings();

/** What holds for one player: the listener's settings, and what the page that it is on asks for. */
export class Sharing {
  #player;
  #listeners = new Set();
  #wantsReceipts = true;

  /** @param {HTMLElement} player */
  constructor(player) {
    this.#player = player;
    new Reports(player, () => settings.values.report);
    settings.addEventListener('change', () => this.#changed());
    new MutationObserver(() => this.#changed()).observe(player, {
      attributeFilter: ['p2p', 'hide-address', 'min-listeners'],
    });
  }

  /** For Python; attributes can only make it more careful. */
  policy() {
    const { share, cap_bytes_per_s, hide_address, receipts } = settings.values;
    return {
      peers: this.#player.getAttribute('p2p') !== 'off',
      share,
      cap_bytes_per_s,
      hide_address: hide_address || this.#player.hasAttribute('hide-address'),
      min_listeners: Math.max(0, Math.floor(Number(this.#player.getAttribute('min-listeners')) || 0)),
      receipts: receipts && this.#wantsReceipts,
    };
  }

  /** For Python, which signs them. @param {string} body @returns {Promise<void>} */
  async sendReceipts(body) {
    try {
      const { status } = await fetch(`${/** @type {any} */ (this.#player).hub}/api/receipts`, { method: 'POST', body, keepalive: true });
      if (status !== 404) return;
      this.#wantsReceipts = false; // nobody collects them here
      this.#changed();
    } catch { /* the hub is away: the next ones say as much */ }
  }

  get settings() { return settings.values; }

  /** @param {Partial<SharingSettings>} patch */
  change(patch) { settings.change(patch); }

  /** @param {() => void} callback */
  listen(callback) { this.#listeners.add(callback); }

  /** @param {() => void} callback */
  unlisten(callback) { this.#listeners.delete(callback); }

  #changed() {
    for (const listener of this.#listeners) listener();
    this.#player.dispatchEvent(new Event('sharingchange'));
  }
}

// -- the menu

const REASONS = {
  sharing: 'Sharing is on.',
  switched_off: 'Off: this player takes from others and gives nothing.',
  save_data: 'Paused: the browser is set to save data.',
  metered: 'Paused on a mobile connection.',
  battery_low: 'Paused until the battery is charged.',
  own_playback: 'Paused for a moment: your own music comes first.',
  no_relay: 'Your address is hidden and this site has no relay, so everything comes from the server.',
  few_listeners: 'Too few are listening for this site to connect them.',
  not_joined: 'Nobody is connected yet.',
  peers_off: 'This page does not connect listeners.',
};

const CAPS = [[0, 'no limit'], [62_500, '0.5 Mbit/s'], [125_000, '1 Mbit/s'], [625_000, '5 Mbit/s'], [1_250_000, '10 Mbit/s']];

const MARKUP = `
<button id="sharing" type="button" aria-expanded="false" aria-controls="sharing-menu">Sharing</button>
<div id="sharing-menu" role="group" aria-label="Sharing with other listeners" hidden>
  <p id="sharing-counts" role="status"></p>
  <p id="sharing-why"></p>
  <label><input id="sharing-share" type="checkbox" role="switch"> Share with other listeners</label>
  <label>Give at most <select id="sharing-cap">${CAPS.map(([rate, name]) => `<option value="${rate}">${name}</option>`).join('')}</select></label>
  <label><input id="sharing-hide" type="checkbox" role="switch" aria-describedby="sharing-hide-note"> Hide my address</label>
  <p id="sharing-hide-note">Listeners who exchange music see each other’s internet address. Hidden, everything goes through a relay.</p>
  <label><input id="sharing-report" type="checkbox" role="switch"> Tell this site how well it played (numbers only)</label>
  <label><input id="sharing-receipts" type="checkbox" role="switch"> Sign receipts for those who give me music, if this site asks for them</label>
</div>`;

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
#sharing { color: var(--soft); font-size: 13px; text-decoration: underline; text-underline-offset: 3px; }
#sharing-menu { grid-column: 1 / -1; display: grid; gap: 6px; padding: 10px 0 2px; font-size: 13px; }
#sharing-menu[hidden] { display: none; }
#sharing-menu p { margin: 0; color: var(--soft); }
#sharing-menu label { display: flex; gap: 8px; align-items: center; width: fit-content; }
#sharing-menu input { accent-color: var(--peer); }
#sharing-menu select { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--line); border-radius: 6px; }
`);

/** @param {number} bytes */
function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/**
 * Put the button and its menu into a container inside a shadow root.
 * @param {HTMLElement} container
 * @param {any} player a <digm-player>.
 */
export function mountSharing(container, player) {
  const root = /** @type {ShadowRoot} */ (container.getRootNode());
  root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
  const template = document.createElement('template');
  template.innerHTML = MARKUP;
  container.append(template.content);
  const part = (id) => /** @type {any} */ (root.getElementById(id));
  const [button, menu, share, cap, hide, report, receipts] = ['', '-menu', '-share', '-cap', '-hide', '-report', '-receipts'].map((name) => part(`sharing${name}`));

  const open = (isOpen) => {
    menu.hidden = !isOpen;
    button.setAttribute('aria-expanded', String(isOpen));
    if (isOpen) show();
  };
  button.addEventListener('click', () => open(menu.hidden));
  const onKey = (event) => {
    if (event.key === 'Escape' && !menu.hidden) {
      event.stopPropagation();
      open(false);
      button.focus();
    }
  };
  button.addEventListener('keydown', onKey);
  menu.addEventListener('keydown', (event) => {
    onKey(event);
    event.stopPropagation(); // the player has keys of its own
  });
  share.addEventListener('change', () => { player.sharing = { share: share.checked }; });
  cap.addEventListener('change', () => { player.sharing = { cap_bytes_per_s: Number(cap.value) }; });
  hide.addEventListener('change', () => { player.sharing = { hide_address: hide.checked }; });
  report.addEventListener('change', () => { player.sharing = { report: report.checked }; });
  receipts.addEventListener('change', () => { player.sharing = { receipts: receipts.checked }; });

  function show() {
    if (menu.hidden) return;
    const { stats, sharing } = player;
    share.checked = sharing.share;
    hide.checked = sharing.hide_address || player.hasAttribute('hide-address');
    hide.disabled = player.hasAttribute('hide-address');
    report.checked = sharing.report;
    receipts.checked = sharing.receipts;
    cap.value = String(sharing.cap_bytes_per_s);
    cap.disabled = !sharing.share;
    if (cap.selectedIndex < 0) cap.selectedIndex = 0;
    part('sharing-counts').textContent = `Given ${megabytes(stats.uploaded ?? 0)}, taken ${megabytes(stats.bytes.peer)} from peers.`;
    const isOff = player.getAttribute('p2p') === 'off';
    // The switch is in force before Python has said so.
    const why = isOff ? 'peers_off' : !sharing.share ? 'switched_off' : (stats.sharing?.why ?? 'not_joined');
    part('sharing-why').textContent = REASONS[why] ?? '';
  }
  player.addEventListener('sharingchange', show);
  player.addEventListener('stats', show);
}
