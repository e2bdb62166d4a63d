// Lock screens, headphones and media keys: https://w3c.github.io/mediasession/

const STEP_S = 10;
/** The player that played last. @type {any} */
let owner = null;

/**
 * The player that played last owns the keys.
 * @param {any} player a <digm-player>.
 * @param {HTMLAudioElement} audio
 */
export function connectMediaSession(player, audio) {
  if (!('mediaSession' in navigator)) return;
  const { mediaSession } = navigator;
  const act = {
    play: () => player.play(),
    pause: () => player.pause(),
    seekbackward: ({ seekOffset = STEP_S }) => { player.currentTime -= seekOffset; },
    seekforward: ({ seekOffset = STEP_S }) => { player.currentTime += seekOffset; },
    seekto: ({ seekTime }) => { player.currentTime = seekTime; },
  };
  const inQueue = { previoustrack: () => player.previous(), nexttrack: () => player.next() };
  const describe = () => {
    const { title = '', artist = '', album = '', cover_url: cover } = player.description ?? {};
    const artwork = cover ? [{ src: cover }] : [];
    mediaSession.metadata = new MediaMetadata({ title, artist: artist ?? '', album: album ?? '', artwork });
    const hasOthers = player.queue.length > 1;
    for (const [action, handler] of Object.entries(inQueue)) {
      mediaSession.setActionHandler(/** @type {MediaSessionAction} */ (action), hasOthers ? handler : null);
    }
  };
  const showPosition = () => {
    const { duration, currentTime } = player;
    if (owner !== player || !Number.isFinite(duration)) return;
    mediaSession.setPositionState({ duration, position: Math.min(currentTime, duration) });
  };
  audio.addEventListener('play', () => {
    owner = player;
    describe();
    for (const [action, handler] of Object.entries(act)) {
      mediaSession.setActionHandler(/** @type {MediaSessionAction} */ (action), handler);
    }
    mediaSession.playbackState = 'playing';
  });
  audio.addEventListener('pause', () => { if (owner === player) mediaSession.playbackState = 'paused'; });
  // Said of another track, and again when more is known of it.
  player.addEventListener('durationchange', () => { if (owner === player) describe(); });
  audio.addEventListener('timeupdate', showPosition);
}
