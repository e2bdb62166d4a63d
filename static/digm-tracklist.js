// The rows of a release's page: pressing one plays it, the one that plays is marked.

const player = /** @type {any} */ (document.querySelector('digm-player[tracks], digm-player[release]'));
const rows = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('[data-plays]')]);

/** @param {HTMLElement} row */
const isCurrent = (row) => Number(row.dataset.plays) === player.index;

function show() {
  for (const row of rows) {
    row.toggleAttribute('data-playing', isCurrent(row) && !player.paused);
    if (isCurrent(row)) row.setAttribute('aria-current', 'true');
    else row.removeAttribute('aria-current');
  }
}

if (player) {
  for (const row of rows) {
    row.addEventListener('click', () => {
      if (!isCurrent(row)) player.playTrack(Number(row.dataset.plays)).catch(() => {});
      else if (player.paused) player.play().catch(() => {});
      else player.pause();
    });
  }
  for (const type of ['trackchange', 'play', 'pause', 'ended']) player.addEventListener(type, show);
  customElements.whenDefined('digm-player').then(show);
}
