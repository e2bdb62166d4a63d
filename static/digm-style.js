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
  --cache: var(--digm-cache, #5f6fb5);
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
    --cache: var(--digm-cache, #9aa8ec);
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
#foot button { flex: none; width: 28px; height: 28px; color: var(--soft); border-radius: 8px; }
#foot button:hover, #foot button[aria-expanded=true] { color: var(--ink); }
#foot button:disabled { opacity: .35; cursor: default; }
#foot button[aria-pressed=true]:not(#mute), #repeat:not([data-repeat=off]) { color: var(--peer) !important; }
#foot button svg { width: 20px; height: 20px; margin: 4px; }
#foot path, #foot circle { fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linejoin: round; stroke-linecap: round; }
#foot .full { fill: currentColor; stroke-width: 1; }
#foot .one { font: 700 8px system-ui, sans-serif; fill: currentColor; stroke: var(--paper); stroke-width: 3px; paint-order: stroke; }
#repeat:not([data-repeat=one]) .one { display: none; }
#queue { display: flex; gap: 2px; margin-left: -4px; }
#queue[hidden] { display: none; }
#preview { flex: none; padding: 1px 8px; border: 1px solid var(--line); border-radius: 10px; font-size: 12px; color: var(--soft); }
#preview[hidden] { display: none; }
#status { min-width: 0; }
#mute[aria-pressed=true] .waves, #mute[aria-pressed=false] .cross { display: none; }
#volume { width: 84px; accent-color: var(--soft); }
#panel { grid-column: 1 / -1; margin-top: 8px; padding-top: 12px; border-top: 1px solid var(--line); font-size: 13px; color: var(--soft); }
#panel[hidden] { display: none; }
#panel p { margin: 0; }
#panel-head { display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between; gap: 0 16px; }
#panel-lead { font-size: 17px; font-weight: 600; color: var(--ink); }
#panel-net, #panel-strip { display: block; width: 100%; overflow: visible; }
#panel-net text { font: 11px system-ui, sans-serif; fill: var(--soft); font-variant-numeric: tabular-nums; }
#panel-net .you { font-size: 12px; font-weight: 600; fill: var(--ink); }
.line { stroke-linecap: round; opacity: .85; transition: stroke-width .4s; }
.line.peer, .ring.peer { stroke: var(--peer); }
.line.gateway, .ring.gateway { stroke: var(--gateway); }
.ring.cache { stroke: var(--cache); }
.line.given { stroke: var(--soft); stroke-dasharray: .1 6; opacity: .7; }
.line[data-idle] { stroke: var(--line); }
.line[data-relayed] { stroke-dasharray: 9 7; }
.ring { fill: none; stroke-width: 5; }
.self { fill: var(--paper); stroke: var(--line); }
.spot.peer > circle, .spot.peer > rect { fill: var(--peer); stroke: var(--paper); stroke-width: 2; }
.spot.gateway > rect { fill: var(--gateway); stroke: var(--paper); stroke-width: 2; }
.empty { fill: var(--line); }
.came.peer { fill: var(--peer); } .came.gateway { fill: var(--gateway); } .came.cache { fill: var(--cache); }
.ahead { fill: var(--quiet); } .head { fill: var(--ink); } .wait { fill: var(--wrong); }
#panel-track { margin-top: 6px; }
#panel-legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 6px 0 0; padding: 0; list-style: none; font-variant-numeric: tabular-nums; }
#panel-legend li::before { content: ""; display: inline-block; width: 9px; height: 9px; margin-right: 6px; border-radius: 3px; background: var(--peer); }
#panel-legend [data-origin=gateway]::before { background: var(--gateway); }
#panel-legend [data-origin=cache]::before { background: var(--cache); }
#panel-foot { display: flex; flex-wrap: wrap; gap: 2px 12px; margin-top: 10px; padding-bottom: 6px; }
#panel-forget { color: inherit; text-decoration: underline; text-underline-offset: 3px; }
#panel-forget:hover { color: var(--ink); }
#panel-forget[hidden] { display: none; }
#panel-more { flex-basis: 100%; }
@container (max-width: 420px) { #volume { display: none; } section { padding: 14px 14px 8px; } }
@media (prefers-reduced-motion: reduce) { * { animation-duration: 4s !important; transition: none !important; } }
@media (forced-colors: active) { #play { border: 1px solid ButtonText; } }
`);
