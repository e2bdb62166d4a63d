// Lock screens, headphones and media keys: https://w3c.github.io/mediasession/

const STEP_S = 10;

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
  audio.addEventListener('play', () => {
    const { title = '', artist = '', album = '', cover_url: cover } = player.description ?? {};
    const artwork = cover ? [{ src: cover }] : [];
    mediaSession.metadata = new MediaMetadata({ title, artist: artist ?? '', album: album ?? '', artwork });
    for (const [action, handler] of Object.entries(act)) mediaSession.setActionHandler(action, handler);
    mediaSession.playbackState = 'playing';
  });
  audio.addEventListener('pause', () => { mediaSession.playbackState = 'paused'; });
  audio.addEventListener('timeupdate', () => {
    const { duration } = player;
    if (!Number.isFinite(duration) || audio.paused) return;
    mediaSession.setPositionState({ duration, position: Math.min(audio.currentTime, duration) });
  });
}
