// Signing in, the address bar, and what is the same on each page.
import {Api} from './api.js';
import {announce, h, setText} from './dom.js';
import {Feed} from './feed.js';
import {timeOfDay} from './format.js';
import {NodePage} from './node_page.js';
import {NodesPage} from './nodes_page.js';
import {Savings} from './savings.js';

const TOKEN = 'snapstore.token';
const ACCOUNT = 'snapstore.account';
const main = document.getElementById('main');
const banner = document.getElementById('banner');
const linkState = document.getElementById('link-state');
const topRight = document.getElementById('top-right');

const LINK_TEXTS = {
  connecting: 'Connecting…', live: 'Live', hidden: 'Paused', lost: 'Not reachable',
  throttled: 'Slowed down', failing: 'Failing',
};

let session = null;  // {api, savings}
let page = null;

const feed = new Feed(showLink, signOut);

function showLink({kind, goodAt, message}) {
  const bad = kind === 'lost' || kind === 'failing' || kind === 'throttled';
  if (linkState.dataset.kind !== kind) {
    if (kind === 'live' && ['lost', 'failing'].includes(linkState.dataset.kind)) announce('Connected again');
    linkState.dataset.kind = kind;
    linkState.textContent = LINK_TEXTS[kind];
  }
  document.body.classList.toggle('stale', bad && goodAt > 0);
  const since = goodAt ? ` What you see is from ${timeOfDay(goodAt)}.` : '';
  const texts = {
    lost: `The controller cannot be reached.${since} Trying again by itself.`,
    failing: `The controller has a problem: ${message}${since} Trying again by itself.`,
    throttled: `${message}${since} Going on in a moment.`,
  };
  if (bad) setText(banner, texts[kind]);
  banner.hidden = !bad;
  if (bad) page?.draw();
}

function show(next) {
  page?.stop?.();
  page = next;
  main.replaceChildren(next.element);
  document.title = `${next.title} · snapstore`;
}

function showLogin(message) {
  feed.follow(null);
  topRight.hidden = true;
  banner.hidden = true;
  document.body.classList.remove('stale');
  const error = h('p', {class: 'login-error', id: 'login-error', role: 'alert', hidden: !message}, message);
  const token = h('input', {id: 'token', type: 'password', autocomplete: 'off', required: true, spellcheck: 'false',
    'aria-describedby': 'token-note login-error'});
  const account = h('input', {id: 'account', type: 'text', autocomplete: 'off', placeholder: 'the first of the token', spellcheck: 'false'});
  account.value = sessionStorage.getItem(ACCOUNT) ?? '';
  const button = h('button', {type: 'submit', class: 'primary'}, 'Open dashboard');
  const fail = (text) => {
    error.textContent = text;
    error.hidden = false;
    token.setAttribute('aria-invalid', 'true');
    token.focus();
    token.select();
  };
  const submit = async (event) => {
    event.preventDefault();
    if (button.getAttribute('aria-disabled') === 'true') return;
    const text = token.value.trim();
    // What no token is made of would not even be sent.
    if (!/^[\x21-\x7e]+$/.test(text)) return fail('This is no API token.');
    button.setAttribute('aria-disabled', 'true');
    button.textContent = 'Checking…';
    try {
      const api = new Api(text, account.value.trim());
      await api.listStatus();
      sessionStorage.setItem(TOKEN, text);
      sessionStorage.setItem(ACCOUNT, account.value.trim());
      open();
    } catch (failure) {
      fail(failure.message);
    } finally {
      button.removeAttribute('aria-disabled');
      button.textContent = 'Open dashboard';
    }
  };
  show({title: 'Sign in', draw() {}, element: h('div', {class: 'login'},
    h('form', {class: 'panel', on: {submit}},
      h('img', {src: 'dashboard/favicon.svg', alt: '', width: 44, height: 44}),
      h('h1', null, 'Sign in'),
      h('p', {class: 'muted', id: 'token-note'}, 'The token stays in this tab and goes to this controller only.'),
      error,
      h('label', {for: 'token'}, 'API token'), token,
      h('label', {for: 'account'}, 'Account ', h('span', {class: 'muted'}, '(optional)')), account,
      button,
      h('p', {class: 'muted small'}, 'A token is made with ', h('code', null, 'snapstore-controller token add'), '.')))});
  token.focus();
}

function signOut(error) {
  sessionStorage.removeItem(TOKEN);
  session = null;
  showLogin(error?.message ?? '');
}

function open() {
  const token = sessionStorage.getItem(TOKEN);
  if (!token) return showLogin('');
  const api = new Api(token, sessionStorage.getItem(ACCOUNT));
  session = {api, savings: new Savings(api)};
  topRight.hidden = false;
  linkState.dataset.kind = 'connecting';
  linkState.textContent = LINK_TEXTS.connecting;
  route(false);
}

function route(focus = true) {
  if (!session) return;
  const [path, query = ''] = location.hash.replace(/^#/, '').split('?');
  const node = /^\/node\/(smi-[0-9a-z]+)$/.exec(path);
  const {api, savings} = session;
  const next = node ? new NodePage(api, savings, node[1], () => feed.refresh())
                    : new NodesPage(api, savings, new URLSearchParams(query));
  show(next);
  if (focus) next.element.querySelector('h1').focus();
  scrollTo(0, 0);
  feed.follow(async (isCurrent) => {
    await next.fetch(isCurrent);
    if (isCurrent()) document.title = `${next.title} · snapstore`;
  });
}

addEventListener('hashchange', () => route());
document.getElementById('sign-out').addEventListener('click', () => signOut());
// The address says which page is shown; this link must not change it.
document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
open();
