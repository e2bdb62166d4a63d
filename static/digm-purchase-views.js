// What <digm-purchase> shows at each step. Nothing is decided here.

import { h } from './digm-html.js';
import { amountOf, amountText, chainOf } from './digm-sales.js';
import { PageWallet, pictureOf } from './digm-wallet.js';

const DAY_S = 86_400;
const HOUR_S = 3_600;

/** @param {any} token @param {bigint} amount */
const money = (token, amount) => `${amountText(amount, token.decimals)} ${token.symbol}`;

/** @param {string} address */
const short = (address) => `${address.slice(0, 6)}…${address.slice(-4)}`;

const moment = (seconds) => new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'short' }).format(1000 * seconds);

/** @param {number} seconds */
export function span(seconds) {
  if (seconds >= 2 * DAY_S) return `${Math.round(seconds / DAY_S)} days`;
  if (seconds >= 2 * HOUR_S) return `${Math.round(seconds / HOUR_S)} hours`;
  return `${Math.max(1, Math.round(seconds / 60))} minutes`;
}

const primary = (text, onclick, attributes = {}) => h('button.buy-primary', { type: 'button', onclick, ...attributes }, text);
const plain = (text, onclick) => h('button.buy-plain', { type: 'button', onclick }, text);

/** @param {string} view @param {string} problem @param {Node[] | null} inside */
export function card(view, problem, inside) {
  if (!inside) return [];
  return [h('section.buy', { 'data-view': view, 'aria-label': 'Buy this track', tabindex: '-1' },
    ...inside, problem && h('p.buy-problem', { role: 'alert' }, problem))];
}

/**
 * @param {any} offer @param {import('./digm-sales.js').Choice[]} choices @param {boolean} isNamed the page shows several tracks.
 * @param {(choice: any, amount: bigint) => void} choose
 */
export function offer(offer, choices, isNamed, choose) {
  const rows = choices.map((choice) => offerRow(offer, choice, isNamed, choose));
  return [...rows, h('p.buy-small', null,
    offer.preview_s ? `The first ${offer.preview_s} seconds are free. ` : '', 'Paid once to the artist, yours for good.'),
  h('digm-account-copy', { 'bring-only': true })];
}

function offerRow(offer, choice, isOneOfSeveral, choose) {
  const isTrack = choice.item === offer.item;
  const isNamed = choice.title !== `${choice.tracks.length} tracks`;
  const whole = isOneOfSeveral ? `“${choice.title}”` : 'The whole track';
  const what = isTrack ? whole : isNamed ? `The album “${choice.title}”` : `All ${choice.tracks.length} tracks together`;
  const price = money(choice.token, choice.price);
  const input = choice.isAtLeast && h('input', {
    type: 'text', inputmode: 'decimal', autocomplete: 'off', value: amountText(choice.price, choice.token.decimals),
    'aria-label': `What you give, in ${choice.token.symbol}; at least ${price}`,
  });
  const note = h('span.buy-small', { role: 'status' });
  const press = () => {
    const amount = input ? amountOf(/** @type {any} */ (input).value, choice.token.decimals) : choice.price;
    if (amount === null || amount < choice.price) note.textContent = `At least ${price}, please.`;
    else choose(choice, amount);
  };
  return h('div.buy-row', null,
    h('div.buy-what', null,
      h('strong', null, what),
      h('span.buy-small', null, isTrack || !isNamed ? (choice.isAtLeast ? `${price} or more` : '') : `${choice.tracks.length} tracks`), note),
    input && h('label.buy-amount', null, input, h('span', null, choice.token.symbol)),
    (isTrack ? primary : plain)(input ? 'Buy' : `Buy · ${price}`, press));
}

/** @param {any[]} wallets @param {any} offer @param {any} on */
export function payers(wallets, offer, on) {
  const row = (name, words, onclick, picture) => h('li', null, h('button.buy-payer', { type: 'button', onclick },
    picture ?? h('span.buy-icon', { 'aria-hidden': 'true' }, name[0]),
    h('span', null, h('strong', null, name), h('span.buy-small', null, words))));
  return [
    h('h2', null, 'How do you want to pay?'),
    h('ul.buy-payers', null,
      ...wallets.map((wallet) => row(wallet.name, 'Your wallet', () => on.wallet(wallet), icon(wallet))),
      row('This browser', 'A key that is made here. No name, no account.', on.page),
      offer.payment_link && row('Another way', 'Pay the artist with a link; the track comes by your code.', on.link)),
    h('p.buy-actions', null, plain('Back', on.back)),
  ];
}

function icon(wallet) {
  const place = h('span.buy-icon', { 'aria-hidden': 'true' }, wallet.name[0]);
  pictureOf(wallet.icon).then((src) => src && place.replaceChildren(h('img', { src, alt: '', width: 32, height: 32 })));
  return place;
}

/** @param {any} offer @param {any} choice @param {bigint} amount @param {any} wallet @param {any[]} missing @param {any} on */
export function confirm(offer, choice, amount, wallet, missing, on) {
  const isPage = wallet instanceof PageWallet;
  const line = (name, ...value) => h('div', null, h('dt', null, name), h('dd', null, ...value));
  return [
    h('h2', null, `${money(choice.token, amount)} for “${choice.title}”`),
    h('dl.buy-facts', null,
      choice.artist && line('By', choice.artist),
      line('Paid by', isPage ? 'this browser ' : `${wallet.name} `,
        h('span.code', { title: wallet.address }, short(wallet.address)), ' ', plain('change', on.other)),
      line('On', chainOf(offer.chain_id).name),
      line('Until the key comes', `the contract keeps the money. No key within ${span(offer.deliver_within_s)}: you take it back.`)),
    missing.length
      ? lackingMoney(offer, wallet, missing, on)
      : h('p.buy-actions', null, primary(`Pay ${money(choice.token, amount)}`, on.pay), plain('Back', on.back)),
  ];
}

function lackingMoney(offer, wallet, missing, on) {
  const what = missing.map(({ symbol, text }) => `${text} ${symbol}`).join(' and ');
  return h('div.buy-lacking', null,
    h('p', null, `This account needs ${what} more. Its address:`),
    copyable(wallet.address),
    h('p.buy-actions', null,
      offer.faucet ? primary('Get play money', on.faucet) : primary('Look again', on.again), plain('Back', on.back)));
}

/** @param {string} text */
export function copyable(text) {
  const done = h('button.buy-plain', {
    type: 'button', onclick: async () => {
      await navigator.clipboard.writeText(text).catch(() => {});
      done.textContent = 'Copied';
    },
  }, 'Copy');
  return h('p.buy-copy', null, h('code', null, text), done);
}

const STEPS = {
  chain: 'Looking at the chain …',
  sign: 'Your wallet shows what you buy. Sign it there.',
  permit: 'Once more: let the contract take just this amount.',
  send: 'Now the payment itself, in your wallet.',
  sent: 'Sent. It is on its way into the next block …',
  slow: 'It takes a while. Nothing is lost if you close this page: come back, and it goes on.',
};

/** @param {string} step @param {any} wallet */
export function paying(step, wallet) {
  const isSilent = wallet instanceof PageWallet && ['sign', 'permit', 'send'].includes(step);
  return busy(isSilent ? 'Paying …' : STEPS[step] ?? 'Paying …');
}

/** @param {string} text */
export const busy = (text) => [h('p.buy-busy', { role: 'status' }, h('span.buy-wheel', { 'aria-hidden': 'true' }), text)];

/** @param {any} offer @param {any} pending @param {number} time of the chain. @param {boolean} isAway @param {any} onTakeBack */
export function waiting(offer, pending, time, isAway, onTakeBack) {
  if (!pending) return busy('Paid. The artist’s vault is about to send your key …');
  if (pending.state === 'refunded' || (time && time >= pending.deliver_before)) {
    return [
      h('h2', null, 'No key came in time'),
      h('p', null, 'The artist’s vault was away too long. Your money is yours again.'),
      h('p.buy-actions', null, primary(`Take ${money(pending.coin_or_token, BigInt(pending.amount))} back`, onTakeBack)),
    ];
  }
  if (!isAway) return busy('Paid. The artist’s vault is about to send your key …');
  return [
    ...busy('Paid. The artist’s vault is away just now.'),
    h('p.buy-small', null, `You get your key as soon as it is back, or your money: by ${moment(pending.deliver_before)} at the `
      + 'latest one or the other. You can close this page and come back.'),
  ];
}

export const returned = (onAgain) => [
  h('h2', null, 'Your money is back'), h('p.buy-actions', null, plain('To the offer', onAgain)),
];

/** @param {any} offer @param {string} code @param {any} onBack */
export const link = (offer, code, onBack) => [
  h('h2', null, 'Pay another way'),
  h('p', null, 'Give the artist this code with your payment. The track opens here by itself when the artist has sent its key.'),
  copyable(code),
  h('p.buy-actions', null,
    h('a.buy-primary', { href: offer.payment_link.replaceAll('{code}', encodeURIComponent(code)), target: '_blank', rel: 'noopener noreferrer' }, 'To the payment page'),
    plain('Back', onBack)),
];

/** @param {boolean} isPopup */
export const owned = (isPopup) => [
  h('p.buy-owned', { role: 'status' }, h('span', { 'aria-hidden': 'true' }, '✓'), ' This track is yours.'),
  h('digm-account-copy'),
  !isPopup && h('p.buy-small', null, h('a', { href: '/music' }, 'My music')),
].filter(Boolean);

export const withdrawn = () => [h('p.buy-small', null, 'The artist does not offer this track any more.')];

export const retry = (onAgain) => [h('p.buy-actions', null, plain('Try again', onAgain))];
