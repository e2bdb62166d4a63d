// The service worker of /music, and of nothing else: what is kept offline plays without a network. It knows the page's
// own files (cache `digm-shell`) and, of tracks that are kept, what hub and gateways say of them (`digm-kept`, which the
// page fills: static/music-keeping.js). Chunks are not here: they lie encrypted in IndexedDB (static/digm-cache.js),
// and keys are nowhere but in static/digm-account.js. Whoever has a network gets everything from it, so a page is never
// older than its hub.

const SHELL = 'digm-shell';
const KEPT = 'digm-kept';
const PAGE = '/music';
const PATIENCE_MS = 4_000; // a network that does not answer is none
const HASHED = /^\/static\/dist\/.*-[0-9a-f]{16}[./]/; // its content never changes
const IMMUTABLE = /^\/covers\/[0-9a-f]{64}$/;
const OF_A_TRACK = /^\/(?:api\/tracks\/[0-9a-f]{64}|[0-9a-f]{64}\/manifest\.json)$/;

const worker = /** @type {any} */ (globalThis);

worker.addEventListener('install', (event) => event.waitUntil(worker.skipWaiting()));
worker.addEventListener('activate', (event) => event.waitUntil(worker.clients.claim()));

worker.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method !== 'GET') return;
  const { origin, pathname } = new URL(request.url);
  const isOwn = origin === worker.location.origin;
  if (isOwn && pathname === PAGE) event.respondWith(newest(request, SHELL, true));
  else if (isOwn && HASHED.test(pathname)) event.respondWith(kept(request, SHELL));
  else if (isOwn && pathname.startsWith('/static/')) event.respondWith(newest(request, SHELL, true));
  else if (IMMUTABLE.test(pathname)) event.respondWith(kept(request, KEPT, false));
  else if (OF_A_TRACK.test(pathname)) event.respondWith(newest(request, KEPT, false));
});

// A manifest is the same from whichever gateway it comes, so the path alone is its name.
const nameOf = (request) => (request.url ? new URL(request.url).pathname : request);

/** From the network; when that is away, as it was last. */
async function newest(request, cacheName, isToBeKept) {
  const name = nameOf(request);
  const cache = await caches.open(cacheName);
  const asked = fetch(request).then(async (answer) => {
    if (answer.status >= 500) return await cache.match(name) ?? answer; // a proxy whose hub is away
    if (isToBeKept && answer.ok) await put(cache, name, answer.clone());
    return answer;
  });
  const before = await cache.match(name);
  if (!before) return asked;
  asked.catch(() => {});
  const late = new Promise((resolve) => { setTimeout(resolve, PATIENCE_MS, before); });
  return Promise.race([asked.catch(() => before), late]);
}

/** As it was kept, else from the network. */
async function kept(request, cacheName, isToBeKept = true) {
  const name = nameOf(request);
  const cache = await caches.open(cacheName);
  const before = await cache.match(name);
  if (before) return before;
  const answer = await fetch(request);
  if (isToBeKept && answer.ok) await put(cache, name, answer.clone());
  return answer;
}

/** A full disk is not noticed. */
const put = (cache, name, answer) => cache.put(name, answer).catch(() => {});
