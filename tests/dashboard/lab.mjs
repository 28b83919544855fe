// A controller with a filled state, and a browser that looks at its page.
import {spawn, spawnSync} from 'node:child_process';
import {createRequire} from 'node:module';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const CHROMIUM = process.env.SNAPSTORE_CHROMIUM ?? '/usr/bin/chromium';
const SKIPPED = 77;

export function needBrowser() {
  if (!fs.existsSync(CHROMIUM)) {
    console.log(`skipped: ${CHROMIUM} is not installed; tools/setup test installs it`);
    process.exit(SKIPPED);
  }
}

function loadPlaywright() {
  try {
    return createRequire(`${process.env.SNAPSTORE_NODE_MODULES}/x.js`)('playwright-core');
  } catch (error) {
    console.log(`skipped: playwright-core is not in ${process.env.SNAPSTORE_NODE_MODULES}; tests/dashboard/setup installs it`);
    process.exit(SKIPPED);
  }
}

export class Controller {
  #process = null;
  #listen = '127.0.0.1:0';
  url = '';

  constructor() {
    // Nothing here is about disks that lose power, so none is waited for.
    const base = fs.existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir();
    this.folder = fs.mkdtempSync(path.join(base, 'snapstore-dashboard-'));
  }

  /** Writes to the state of a controller that does not run; what was printed. */
  fill(...words) {
    const done = spawnSync(process.env.SNAPSTORE_FILL_STATE_BIN, [this.folder, ...words], {encoding: 'utf8'});
    if (done.status !== 0) throw new Error(`fill_state ${words}: ${done.stderr}`);
    return done.stdout.trim();
  }

  start() {
    // Without a cloud: states change when the test says so. The second start takes the same port.
    this.#process = spawn(process.env.SNAPSTORE_CONTROLLER_BIN, ['serve', '--api-only', '--listen', this.#listen,
      '--state-dir', this.folder, '--json'], {stdio: ['ignore', 'pipe', 'inherit']});
    return new Promise((resolve, reject) => {
      this.#process.once('exit', (code) => reject(new Error(`the controller ended with ${code}`)));
      this.#process.stdout.once('data', (line) => {
        this.#listen = JSON.parse(line).listen;
        this.url = `http://${this.#listen}`;
        this.#process.removeAllListeners('exit');
        resolve();
      });
    });
  }

  stop() {
    return new Promise((resolve) => {
      if (!this.#process) return resolve();
      this.#process.once('exit', resolve);
      this.#process.kill('SIGTERM');
      this.#process = null;
    });
  }

  async remove() {
    await this.stop();
    fs.rmSync(this.folder, {recursive: true, force: true});
  }

  async call(token, method, route, body) {
    const answer = await fetch(`${this.url}/aws/ec2/${route}`, {method, body: body && JSON.stringify(body),
      headers: {Authorization: `Bearer ${token}`, 'Content-Type': 'application/json'}});
    const {response} = await answer.json();
    if (answer.status !== 200) throw new Error(`${method} ${route}: ${JSON.stringify(response)}`);
    return response.items;
  }
}

/** What a page must never do, noted while it runs. */
export class Watch {
  problems = [];
  allowed = null;  // console lines that are meant to be there while the controller is away

  attach(page, origin) {
    page.on('console', (message) => {
      if (!['error', 'warning'].includes(message.type())) return;
      if (!this.allowed?.test(message.text())) this.problems.push(`console: ${message.text()}`);
    });
    page.on('pageerror', (error) => this.problems.push(`error: ${error.stack}`));
    page.on('request', (request) => {
      if (!request.url().startsWith(`${origin}/`)) this.problems.push(`foreign request: ${request.url()}`);
    });
    page.on('response', (response) => {
      const {pathname} = new URL(response.url());
      if (response.status() === 404 && !pathname.startsWith('/aws/')) this.problems.push(`404: ${pathname}`);
    });
  }
}

export async function launchBrowser() {
  const {chromium} = loadPlaywright();
  return chromium.launch({executablePath: CHROMIUM, chromiumSandbox: false});
}

/** A page of its own session; violations of the policy count as problems. */
export async function openPage(browser, watch, origin, options = {}) {
  const context = await browser.newContext({
    viewport: {width: 1360, height: 900}, reducedMotion: 'reduce', ...options});
  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) =>
      console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`));
  });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  watch.attach(page, origin);
  return page;
}

export async function screenshot(page, name, fullPage = true) {
  const folder = process.env.SNAPSTORE_SCREENSHOTS;
  if (!folder) return;
  fs.mkdirSync(folder, {recursive: true});
  await page.screenshot({path: path.join(folder, `${name}.png`), fullPage, animations: 'disabled'});
}
