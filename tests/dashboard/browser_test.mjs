// The dashboard in a headless Chromium, on a controller of its own. The cases run in this order and
// share what is there.
import assert from 'node:assert/strict';
import {after, before, test} from 'node:test';
import {Controller, Watch, launchBrowser, needBrowser, openPage, screenshot} from './lab.mjs';

needBrowser();

// Divisible by 40. A fleet of 2000 is played to one page below; this many are really there.
const NODES = Number(process.env.SNAPSTORE_DASHBOARD_NODES ?? 400);
const ALL = NODES.toLocaleString('en-US');
const controller = new Controller();
const watch = new Watch();
let browser;
let page;
let token;
let nodes;  // by name, as the API lists them

const find = (name) => nodes.find((node) => node.name === name);
const row = (name) => page.locator('tbody tr', {has: page.getByRole('link', {name, exact: true})});
const heading = (name) => page.getByRole('heading', {level: 1, name, exact: true});

async function until(check, what) {
  const end = Date.now() + 15_000;
  while (!(await check())) {
    if (Date.now() > end) assert.fail(`did not happen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function signIn(where, secret) {
  await where.goto(`${controller.url}/`);
  await where.getByLabel('API token').fill(secret);
  await where.getByRole('button', {name: 'Open dashboard'}).click();
}

async function overflow(where) {
  return where.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

before(async () => {
  token = controller.fill(String(NODES));
  await controller.start();
  nodes = await controller.call(token, 'GET', 'managedInstance/status');
  browser = await launchBrowser();
  page = await openPage(browser, watch, controller.url);
});

after(async () => {
  await browser?.close();
  await controller.remove();
});

test('a wrong token is refused, a good one is kept for this tab only', async () => {
  watch.allowed = /status of 401/;
  await signIn(page, 'wrong');
  await page.getByText('does not accept this token').waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  await screenshot(page, 'sign-in');
  watch.allowed = null;
  await page.getByLabel('API token').fill(token);
  await page.keyboard.press('Enter');
  await row('build-cache-1').waitFor();
  assert.equal(await page.title(), 'Nodes · snapstore');
  const kept = await page.evaluate(() => ({local: localStorage.length, cookie: document.cookie, url: location.href,
    token: sessionStorage.getItem('snapstore.token')}));
  assert.deepEqual(kept, {local: 0, cookie: '', url: `${controller.url}/`, token});
});

test('the list tells what there is about a node', async () => {
  assert.equal(await page.locator('tbody tr').count(), 50);
  await page.getByText(`1–50 of ${ALL}`).waitFor();
  await page.getByRole('searchbox').fill('payments-db-1 10.0.0.5');
  const text = await row('payments-db-1').innerText();
  for (const part of [find('payments-db-1').id, 'Active', 'Spot', 'm5.large', 'us-east-1a', '10.0.0.5', 'ago', 'MiB']) {
    assert.ok(text.includes(part), `${part} in ${text}`);
  }
  await row('payments-db-1').getByText('75 %').waitFor();
  // A state is a word and a shape beside its colour.
  assert.equal(await row('payments-db-1').locator('.badge svg circle').count(), 1);
});

test('search, filter, sort and pages work, and the address keeps them', async () => {
  await page.getByRole('searchbox').fill('payments us-east-1b');
  await until(async () => (await page.locator('.count').innerText()).includes(` of ${ALL} nodes`), 'fewer nodes');
  for (const text of await page.locator('tbody tr').allInnerTexts()) assert.match(text, /payments-db/);
  await page.getByRole('searchbox').fill('');
  await page.getByRole('button', {name: /^Paused/}).click();
  assert.equal(await page.getByRole('button', {name: /^Paused/}).getAttribute('aria-pressed'), 'true');
  await page.getByText(`1–50 of ${NODES / 5}`).waitFor();
  assert.deepEqual([...new Set(await page.locator('.badge').allInnerTexts())], ['Paused']);
  await page.getByRole('button', {name: 'Next →'}).click();
  await page.getByText(`51–${Math.min(100, NODES / 5)} of ${NODES / 5}`).waitFor();
  await page.reload();
  await page.getByText(`51–${Math.min(100, NODES / 5)} of ${NODES / 5}`).waitFor();
  await page.getByRole('searchbox').fill('no such node');
  await page.getByText('No node fits.').waitFor();
  await page.getByRole('button', {name: 'Show all nodes'}).click();
  await page.getByRole('button', {name: 'Last checkpoint'}).click();
  assert.equal(await page.locator('th[aria-sort]').getAttribute('aria-sort'), 'descending');
  await until(async () => (await page.locator('tbody tr').first().innerText()).includes('payments-db-1'),
    'the node with the newest checkpoint is first');
  await page.getByRole('button', {name: 'Node', exact: true}).click();
  const lines = page.locator('.node-name');
  assert.deepEqual((await lines.allInnerTexts()).slice(0, 2), ['build-cache-1', 'build-cache-2']);
  await page.getByRole('searchbox').fill('-1 10.0.0.');
  await screenshot(page, 'nodes', false);
  await page.getByRole('searchbox').fill('');
});

test('a node has its facts, its checkpoints, its agent and its volumes', async () => {
  await page.getByRole('searchbox').fill('payments-db-1 10.0.0.5');
  await row('payments-db-1').getByRole('link').click();
  await heading('payments-db-1').waitFor();
  const chart = page.getByRole('img', {name: /checkpoints, 1 failed/});
  await chart.waitFor();
  assert.equal(await chart.locator('.bar').count(), 59);
  await page.getByRole('table', {name: /Checkpoints/}).getByText('✓ stored').first().waitFor();
  await page.getByText('/dev/xvda').waitFor();
  await page.getByText(/Agent (not )?healthy/).waitFor();
  await page.getByText('Restored from c09f21e').waitFor();
  await page.getByText('Postgres').first().waitFor();
  assert.match(await page.getByRole('region', {name: 'Key figures'}).innerText(), /75 %/);
});

test('the time line shows states and events, and they are listed too', async () => {
  const line = page.getByRole('img', {name: /Time line of the last 24 hours/});
  await line.waitFor();
  assert.ok(await line.locator('.band').count() >= 5);
  assert.ok(await line.locator('.mark').count() >= 2);
  const listed = () => page.locator('.events li').count();
  const day = await listed();
  await page.getByRole('button', {name: 'Show last hour'}).click();
  await page.getByRole('img', {name: /last hour: 3 events/}).waitFor();
  assert.equal(await listed(), 3);
  await page.getByRole('button', {name: 'Show whole life'}).click();
  await page.getByRole('img', {name: /whole life/}).waitFor();
  assert.ok(await page.locator('.band-paused').count() >= 7);
  assert.ok(await listed() > day);
  const box = await page.locator('.time-line .plot svg').boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + 60);
  await until(async () => / for \d/.test(await page.locator('.time-line .readout').innerText()), 'a stretch is told');
  await screenshot(page, 'node');
  await page.getByRole('button', {name: 'Show last 24 hours'}).click();
});

test('an action is confirmed, done and seen; a refusal is shown as it is', async () => {
  const {id} = find('payments-db-1');
  const dialog = page.getByRole('dialog');
  await page.getByRole('button', {name: 'Pause', exact: true}).click();
  await dialog.getByRole('heading', {name: 'Pause payments-db-1?'}).waitFor();
  await page.keyboard.press('Escape');
  await dialog.waitFor({state: 'detached'});
  assert.equal((await controller.call(token, 'GET', `managedInstance/${id}/status`))[0].status, 'ACTIVE');
  await page.getByRole('button', {name: 'Pause', exact: true}).click();
  await dialog.getByRole('button', {name: 'Pause'}).waitFor();
  await screenshot(page, 'dialog', false);
  // Somebody else is faster.
  await controller.call(token, 'PUT', `managedInstance/${id}/recycle`);
  watch.allowed = /status of 400/;
  await dialog.getByRole('button', {name: 'Pause'}).click();
  await dialog.getByText('cannot pause a stateful node that is RECYCLE').waitFor();
  await dialog.getByText('CANT_PAUSE_MANAGED_INSTANCE').waitFor();
  await dialog.getByRole('button', {name: 'Close'}).click();
  watch.allowed = null;
  await page.locator('.node-title').getByText('Recycle asked').waitFor();
  await page.getByText('a recycle was asked for').first().waitFor();
  const pause = page.getByRole('button', {name: 'Pause', exact: true});
  assert.equal(await pause.getAttribute('aria-disabled'), 'true');
  await page.getByRole('link', {name: 'All nodes'}).click();
  await page.getByRole('searchbox').fill('ci-runner-1 10.0.0.');
  await row('ci-runner-1').getByRole('link').click();
  await heading('ci-runner-1').waitFor();
  await page.getByRole('button', {name: 'Recycle', exact: true}).click();
  await dialog.getByRole('button', {name: 'Recycle'}).click();
  await page.locator('.node-title').getByText('Recycle asked').waitFor();
  assert.equal((await controller.call(token, 'GET', `managedInstance/${find('ci-runner-1').id}/status`))[0].status, 'RECYCLE');
});

test('what others do is seen without a reload, and told to screen readers', async () => {
  await page.getByRole('link', {name: 'All nodes'}).click();
  await page.getByRole('searchbox').fill('feature-store-1 10.0.0.10');
  await row('feature-store-1').getByText('Active').waitFor();
  await controller.call(token, 'PUT', `managedInstance/${find('feature-store-1').id}/pause`);
  await row('feature-store-1').getByText('Pause asked').waitFor();
  await until(async () => (await page.locator('#announcer').innerText()).includes('feature-store-1: Pause asked'), 'announced');
});

test('a hidden tab asks nothing', async () => {
  let calls = 0;
  const count = (request) => { if (request.url().includes('/aws/')) ++calls; };
  const hide = (hidden) => page.evaluate((value) => {
    Object.defineProperty(document, 'hidden', {configurable: true, get: () => value});
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  await hide(true);
  await page.getByText('Paused', {exact: true}).first().waitFor();
  await page.waitForTimeout(300);
  page.on('request', count);
  await page.waitForTimeout(2500);
  assert.equal(calls, 0);
  await hide(false);
  await until(() => calls > 0, 'it asks again');
  page.off('request', count);
  await page.locator('#link-state[data-kind=live]').waitFor();
});

test('a controller that is away is told, and its return found by itself', async () => {
  watch.allowed = /ERR_CONNECTION|ERR_EMPTY_RESPONSE/;
  const {id} = find('feature-store-1');
  await controller.stop();
  await page.getByRole('alert').getByText('The controller cannot be reached.').waitFor();
  await row('feature-store-1').waitFor();
  await screenshot(page, 'away');
  controller.fill('paused', id);
  controller.fill('checkpoint', id);
  await controller.start();
  await page.locator('#link-state[data-kind=live]').waitFor();
  await page.getByRole('alert').waitFor({state: 'hidden'});
  watch.allowed = null;
  await row('feature-store-1').getByText('Paused').waitFor();
  await row('feature-store-1').getByText(/^(just now|\d+ s ago)$/).waitFor();
});

test('all of it can be done with the keyboard', async () => {
  await page.evaluate(() => { location.hash = '#/'; });
  await page.reload();
  await row('build-cache-1').waitFor();
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'skip');
  await page.keyboard.press('Enter');
  for (let i = 0; i < 40; ++i) {
    await page.keyboard.press('Tab');
    const focused = await page.evaluate(() => ({text: document.activeElement.textContent,
      outline: getComputedStyle(document.activeElement).outlineStyle}));
    assert.notEqual(focused.outline, 'none', `focus on ${focused.text} is seen`);
    if (focused.text === 'build-cache-1') break;
  }
  await page.keyboard.press('Enter');
  await heading('build-cache-1').waitFor();
  await until(() => page.evaluate(() => document.activeElement.tagName === 'H1'), 'focus is on the heading');
  await page.getByRole('button', {name: 'Recycle', exact: true}).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Cancel');
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').waitFor({state: 'detached'});
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Recycle');
});

test('it has landmarks, one main heading, and text that contrasts', async () => {
  for (const role of ['banner', 'main', 'navigation']) assert.ok(await page.getByRole(role).count() >= 1, role);
  assert.equal(await page.getByRole('heading', {level: 1}).count(), 1);
  await page.goto(`${controller.url}/#/node/${find('payments-db-1').id}`);
  await page.getByText(/Agent (not )?healthy/).waitFor();
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({colorScheme, reducedMotion: 'reduce'});
    assert.deepEqual(await page.evaluate(lowContrasts), [], colorScheme);
    assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
    await screenshot(page, `node-${colorScheme}`);
  }
  // Words in the bands of a time line too, whatever the bands look like.
  for (const [status, tone] of [['ACTIVE', 'ok'], ['PAUSED', 'paused'], ['RECYCLING', 'changing'], ['ERROR', 'error']]) {
    await page.goto(`${controller.url}/#/node/${nodes.find((node) => node.status === status).id}`);
    await page.locator(`.band-text-${tone}`).first().waitFor();
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({colorScheme});
      assert.deepEqual(await page.evaluate(lowContrasts), [], `${status}, ${colorScheme}`);
      await screenshot(page, `node-${tone}-${colorScheme}`, false);
    }
  }
  await page.getByRole('link', {name: 'All nodes'}).click();
  await row('build-cache-1').waitFor();
  await page.getByRole('searchbox').fill('-1 10.0.0.');
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({colorScheme});
    assert.deepEqual(await page.evaluate(lowContrasts), [], colorScheme);
    await screenshot(page, `nodes-${colorScheme}`, false);
  }
});

test('a phone shows cards, and nothing is wider than it', async () => {
  const phone = await openPage(browser, watch, controller.url, {viewport: {width: 360, height: 740}, hasTouch: true, isMobile: true});
  await phone.goto(`${controller.url}/`);
  assert.equal(await overflow(phone), 0);
  await screenshot(phone, 'phone-sign-in');
  await signIn(phone, token);
  const link = phone.getByRole('link', {name: 'build-cache-1', exact: true});
  await link.waitFor();
  assert.equal(await overflow(phone), 0);
  // Still a table to those who cannot see it.
  assert.ok(await phone.getByRole('table', {name: 'Nodes'}).getByRole('row').count() > 40);
  await phone.getByRole('button', {name: /^Ascending/}).click();
  await phone.getByRole('link', {name: `session-cache-${NODES / 8}`, exact: true}).waitFor();
  await phone.getByRole('searchbox').fill('-1 10.0.0.');
  await screenshot(phone, 'phone-nodes', false);
  await phone.goto(`${controller.url}/#/node/${find('payments-db-1').id}`);
  await phone.getByText(/Agent (not )?healthy/).waitFor();
  await phone.getByRole('img', {name: /Time line/}).waitFor();
  assert.equal(await overflow(phone), 0);
  await screenshot(phone, 'phone-node');
  await phone.context().close();
});

test('two thousand nodes are no burden', async () => {
  const fleet = await openPage(browser, watch, controller.url);
  const many = Array.from({length: 2000}, (_, i) => ({...nodes[i % NODES], name: `fleet-${i}`, id: `smi-${i}f`}));
  await fleet.route('**/managedInstance/status*', (route) => route.fulfill({json: {response: {items: many}}}));
  await fleet.route('**/costs*', (route) => route.fulfill({json: {response: {items: [
    {running: {value: 1}, savings: {value: 50}, costs: {actual: 1, potential: 2}}]}}}));
  await signIn(fleet, token);
  await fleet.getByText('1–50 of 2,000').waitFor();
  assert.equal(await fleet.locator('tbody tr').count(), 50);
  const took = await fleet.evaluate(() => {
    const search = document.getElementById('search');
    const began = performance.now();
    for (const text of ['f', 'fl', 'fleet-19', 'fleet-1999']) {
      search.value = text;
      search.dispatchEvent(new Event('input'));
    }
    return performance.now() - began;
  });
  assert.ok(took < 2000, `four searches took ${took} ms`);
  await fleet.getByText('1 of 2,000 nodes', {exact: true}).waitFor();
  assert.equal(await fleet.locator('tbody tr').count(), 1);
  await fleet.context().close();
});

test('an account without nodes, a node that is unknown', async () => {
  await page.goto(`${controller.url}/#/node/smi-0`);
  watch.allowed = /status of 400/;
  await page.getByText('There is no node smi-0 in this account.').waitFor();
  watch.allowed = /status of 40[03]/;
  await page.getByRole('button', {name: 'Sign out'}).click();
  assert.equal(await page.evaluate(() => sessionStorage.getItem('snapstore.token')), null);
  await page.goto(`${controller.url}/`);
  await page.getByLabel('Account').fill('act-9');
  await page.getByLabel('API token').fill(token);
  await page.keyboard.press('Enter');
  await page.getByText('the token may not use account act-9').waitFor();
  await page.route('**/managedInstance/status*', (route) => route.fulfill({json: {response: {items: []}}}));
  await page.getByLabel('Account').fill('');
  await page.getByLabel('API token').fill(token);
  await page.keyboard.press('Enter');
  await page.getByText('No nodes yet').waitFor();
  await screenshot(page, 'empty');
});

test('nothing was complained about, nothing came from elsewhere', () => {
  assert.deepEqual(watch.problems, []);
});

/** In the page: texts whose contrast with what is behind them is below 4.5. */
function lowContrasts() {
  const numbers = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const part = (value) => value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = numbers(getComputedStyle(at).backgroundColor);
      if ((color[3] ?? 1) > 0.5) return color;
    }
    return [255, 255, 255];
  };
  // What a shape is filled with; of a pattern, all that it is made of.
  const fills = (shape) => {
    const {fill, stroke} = getComputedStyle(shape);
    const pattern = fill.match(/#([^")]+)/);
    if (pattern) {
      return [...document.getElementById(pattern[1]).children].flatMap((part) =>
        part.tagName === 'path' ? [numbers(getComputedStyle(part).stroke)] : fills(part));
    }
    return fill === 'none' ? [] : [numbers(fill)];
  };
  const shapesBehind = (text) => {
    const box = text.getBoundingClientRect();
    let colors = [behind(text)];
    for (const shape of text.ownerSVGElement.querySelectorAll('rect, path, circle')) {
      if (!(shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING)) continue;
      if (shape.closest('defs') || getComputedStyle(shape).visibility === 'hidden') continue;
      const at = shape.getBoundingClientRect();
      if (at.right <= box.left || at.left >= box.right || at.bottom <= box.top || at.top >= box.bottom) continue;
      const own = fills(shape);
      const all = at.left <= box.left && at.right >= box.right && at.top <= box.top && at.bottom >= box.bottom;
      colors = all && own.length ? own : [...colors, ...own];
    }
    return colors;
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!words || !element.checkVisibility()) continue;
    const drawn = element.ownerSVGElement;
    const style = getComputedStyle(element);
    const a = luminance(numbers(drawn ? style.fill : style.color));
    const contrasts = (drawn ? shapesBehind(element) : [behind(element)]).map(luminance).map((b) =>
      (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
    const contrast = Math.min(...contrasts);
    if (contrast < 4.5) found.push(`${element.textContent.slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  return found;
}
