// The player's looks. A constructed style sheet needs no `style-src` exception. Pages may set the custom properties.

export const sheet = new CSSStyleSheet();

sheet.replaceSync(`
:host {
  --ink: var(--digm-ink, #1d1b18);
  --soft: var(--digm-soft, #6d6860);
  --paper: var(--digm-paper, #fffdf9);
  --line: var(--digm-line, #e6e1d8);
  --quiet: var(--digm-quiet, #b9b2a6);
  --peer: var(--digm-peer, #0f7b6c);
  --gateway: var(--digm-gateway, #b4691f);
  --wrong: var(--digm-wrong, #a3312a);
  color-scheme: light dark;
  display: block;
  container-type: inline-size;
  font: 15px/1.4 system-ui, -apple-system, "Segoe UI", sans-serif;
  color: var(--ink);
}
@media (prefers-color-scheme: dark) {
  :host {
    --ink: var(--digm-ink, #efeae2);
    --soft: var(--digm-soft, #a39c91);
    --paper: var(--digm-paper, #1b1a18);
    --line: var(--digm-line, #34312d);
    --quiet: var(--digm-quiet, #6a645b);
    --peer: var(--digm-peer, #4fc3af);
    --gateway: var(--digm-gateway, #e0a058);
    --wrong: var(--digm-wrong, #f0877d);
  }
}
:host([hidden]), audio { display: none; }
section {
  --done: 1;
  position: relative;
  display: grid;
  grid-template-columns: auto 1fr auto;
  column-gap: 16px;
  align-items: center;
  padding: 18px 20px 12px;
  background: var(--paper);
  border: 1px solid var(--line);
  border-radius: 14px;
  overflow: hidden;
}
section[data-start]::before {
  content: "";
  position: absolute;
  inset: 0 auto auto 0;
  width: calc(var(--done) * 100%);
  height: 2px;
  background: var(--peer);
  transition: width .3s ease-out;
}
button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
:focus-visible { outline: 2px solid var(--peer); outline-offset: 2px; border-radius: 6px; }
#play {
  width: 52px; height: 52px; border-radius: 50%;
  background: var(--ink); color: var(--paper);
  transition: transform .15s, background .15s;
}
#play:focus-visible { border-radius: 50%; }
#play:hover { background: var(--peer); }
#play:active { transform: scale(.95); }
#play svg { width: 100%; height: 100%; }
#play path { fill: currentColor; transform: scale(.5); transform-origin: 12px 12px; }
.shape-wait { fill: none; stroke: var(--peer); stroke-width: 1.6; stroke-dasharray: 18 50; opacity: 0; }
.shape-pause, [data-state=playing] .shape-play { display: none; }
[data-state=playing] .shape-pause { display: inline; }
[data-waiting] .shape-wait { opacity: 1; transform-origin: 12px 12px; animation: turn 1.1s linear infinite; }
@keyframes turn { to { transform: rotate(1turn); } }
#names { min-width: 0; }
#title { font-weight: 600; font-size: 17px; }
#title, #artist { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
#artist { color: var(--soft); }
#time { color: var(--soft); font-variant-numeric: tabular-nums; align-self: end; padding-bottom: 3px; }
#length:not(:empty)::before { content: " / "; }
#scrubber {
  grid-column: 1 / -1;
  margin-top: 12px;
  height: 56px;
  cursor: pointer;
  touch-action: none;
}
canvas { display: block; width: 100%; height: 100%; }
#foot { grid-column: 1 / -1; display: flex; align-items: center; gap: 8px; margin-top: 6px; min-height: 28px; }
#status { flex: 1; margin: 0; font-size: 13px; color: var(--soft); }
[data-failed] #status { color: var(--wrong); }
#mute { width: 28px; height: 28px; color: var(--soft); }
#mute svg { width: 20px; height: 20px; margin: 4px; }
#mute path { fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linejoin: round; stroke-linecap: round; }
#mute[aria-pressed=true] .waves, #mute[aria-pressed=false] .cross { display: none; }
#volume { width: 84px; accent-color: var(--soft); }
@container (max-width: 380px) { #volume { display: none; } section { padding: 14px 14px 8px; } }
@media (prefers-reduced-motion: reduce) { * { animation-duration: 4s !important; transition: none !important; } }
@media (forced-colors: active) { #play { border: 1px solid ButtonText; } }
`);
