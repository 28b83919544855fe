// All nodes: how many are in which state, search, filters, the table.
import {announce, h, setAttribute, setText} from './dom.js';
import {money, percent, plural, whole} from './format.js';
import {COLUMNS, NodesTable} from './nodes_table.js';
import {TONES, shape, stateOf} from './states.js';

const PAGE_SIZE = 50;

export class NodesPage {
  title = 'Nodes';
  #api;
  #savings;
  #nodes = null;
  #view;
  #table = new NodesTable((key) => this.#sortBy(key));
  #tones = new Map();
  #saved = h('strong');
  #savedNote = h('span');
  #search;
  #order;
  #direction = h('button', {type: 'button', class: 'plain', on: {click: () => this.#sortBy(this.#view.sort)}});
  #count = h('p', {class: 'muted count', role: 'status'});
  #body = h('div', {class: 'panel table-panel'});
  #loading = h('p', {class: 'empty', 'aria-busy': 'true'}, h('span', {class: 'spinner', 'aria-hidden': 'true'}), 'Loading nodes…');
  #pager;

  /** `query`: URLSearchParams of the address, which this page keeps up to date. */
  constructor(api, savings, query) {
    this.#api = api;
    this.#savings = savings;
    this.#view = {
      q: query.get('q') ?? '', state: query.get('state') ?? '', page: Math.max(0, Number(query.get('page')) || 0),
      sort: COLUMNS.some(({key}) => key === query.get('sort')) ? query.get('sort') : 'name', down: query.get('down') === '1',
    };
    this.#search = h('input', {type: 'search', id: 'search', placeholder: 'Name, id, type, zone, address', autocomplete: 'off', spellcheck: 'false',
      on: {input: () => this.#change({q: this.#search.value, page: 0})}});
    this.#search.value = this.#view.q;
    this.#order = h('select', {id: 'order', on: {change: () => this.#sortBy(this.#order.value)}},
      COLUMNS.map(({key, label}) => h('option', {value: key}, label)));
    this.#pager = this.#makePager();
    this.#body.append(this.#loading);
    this.element = h('div', {class: 'page'},
      h('h1', {tabindex: '-1'}, 'Nodes'),
      h('section', {class: 'tiles', 'aria-label': 'Summary'}, this.#makeFilter(),
        h('div', {class: 'tile saved'}, h('span', {class: 'tile-label'}, 'Saved in 30 days'), this.#saved, this.#savedNote)),
      h('section', {'aria-label': 'Nodes'},
        h('div', {class: 'toolbar'},
          h('label', {class: 'field grow', for: 'search'}, h('span', {class: 'unseen'}, 'Search'), this.#search),
          h('label', {class: 'field order', for: 'order'}, h('span', null, 'Sort by'), this.#order),
          h('div', {class: 'order'}, this.#direction),
          this.#count),
        this.#body, this.#pager.element));
  }

  async fetch(isCurrent) {
    const nodes = await this.#api.listStatus();
    if (!isCurrent()) return;
    this.#tellChanges(nodes);
    this.#nodes = nodes;
    this.draw();
    const shown = this.#selected();
    const first = this.#view.page * PAGE_SIZE;
    const idsOf = (list) => list.map(({id}) => id);
    await this.#savings.fetchSome(idsOf(shown.slice(first, first + PAGE_SIZE)), idsOf(nodes));
    if (isCurrent()) this.draw();
  }

  draw() {
    if (!this.#nodes) return;
    for (const node of this.#nodes) node.costs = this.#savings.of(node.id);
    this.#drawTiles();
    const selected = this.#selected();
    const pages = Math.max(1, Math.ceil(selected.length / PAGE_SIZE));
    this.#view.page = Math.min(this.#view.page, pages - 1);
    const first = this.#view.page * PAGE_SIZE;
    const shown = selected.slice(first, first + PAGE_SIZE);
    setText(this.#count, selected.length === this.#nodes.length ? plural(selected.length, 'node')
      : `${whole(selected.length)} of ${plural(this.#nodes.length, 'node')}`);
    this.#order.value = this.#view.sort;
    setText(this.#direction, this.#view.down ? '▼' : '▲');
    setAttribute(this.#direction, 'aria-label', this.#view.down ? 'Descending; make it ascending' : 'Ascending; make it descending');
    this.#table.set(shown, this.#view.sort, this.#view.down);
    const content = shown.length ? this.#table.element : this.#empty();
    if (this.#body.firstChild !== content) this.#body.replaceChildren(content);
    this.#pager.set(first, shown.length, selected.length);
  }

  stop() {}

  #selected() {
    const {q, state, sort, down} = this.#view;
    const words = q.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (node) => {
      if (state && stateOf(node.status).tone !== state) return false;
      if (!words.length) return true;
      const text = [node.name, node.id, node.instanceId, node.instanceType, node.availabilityZone, node.privateIp,
        node.publicIp, stateOf(node.status).label, node.lifeCycle].join(' ').toLowerCase();
      return words.every((word) => text.includes(word));
    };
    const {compare} = COLUMNS.find(({key}) => key === sort);
    const sign = down ? -1 : 1;
    const byName = COLUMNS[0].compare;
    return this.#nodes.filter(fits).sort((a, b) => sign * compare(a, b) || byName(a, b) || (a.id < b.id ? -1 : 1));
  }

  #change(values) {
    Object.assign(this.#view, values);
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(this.#view)) {
      if (value && value !== 'name') query.set(name, value === true ? '1' : value);
    }
    history.replaceState(null, '', `#/${query.size ? `?${query}` : ''}`);
    this.draw();
  }

  #sortBy(key) {
    const {descends = false} = COLUMNS.find((column) => column.key === key);
    this.#change({sort: key, down: key === this.#view.sort ? !this.#view.down : descends, page: 0});
  }

  #makeFilter() {
    const button = (tone, label) => {
      const number = h('strong', null, '–');
      const share = h('span');
      const element = h('button', {type: 'button', class: 'tile filter', on: {click: () => this.#change({
        state: this.#view.state === tone ? '' : tone, page: 0})}},
        h('span', {class: 'tile-label'}, tone ? shape(tone) : null, label), number, share);
      this.#tones.set(tone, {element, number, share});
      return element;
    };
    return h('div', {class: 'filters', role: 'group', 'aria-label': 'Filter by state'},
      button('', 'All'), TONES.map(({tone, label}) => button(tone, label)));
  }

  #drawTiles() {
    const counts = new Map();
    for (const {status} of this.#nodes) {
      const {tone} = stateOf(status);
      counts.set(tone, (counts.get(tone) ?? 0) + 1);
    }
    const all = this.#nodes.length;
    for (const [tone, {element, number, share}] of this.#tones) {
      const count = tone ? counts.get(tone) ?? 0 : all;
      setText(number, whole(count));
      setText(share, !tone ? 'in every state' : all ? percent(100 * count / all) : '–');
      setAttribute(element, 'aria-pressed', String(tone === this.#view.state));
    }
    const {known, actual, potential} = this.#savings.total(this.#nodes.map(({id}) => id));
    setText(this.#saved, known ? money(potential - actual) : '–');
    const missing = known < this.#nodes.length ? `so far ${whole(known)} of ${plural(this.#nodes.length, 'node')}` : '';
    const share = potential > 0 ? `${percent(100 * (potential - actual) / potential)} less than on demand` : '';
    setText(this.#savedNote, missing || share || 'nothing ran yet');
  }

  #empty() {
    if (this.#nodes.length) {
      return h('div', {class: 'empty'}, h('p', null, 'No node fits.'),
        h('button', {type: 'button', class: 'plain', on: {click: () => {
          this.#search.value = '';
          this.#change({q: '', state: '', page: 0});
          this.#search.focus();
        }}}, 'Show all nodes'));
    }
    return h('div', {class: 'empty'}, h('h2', null, 'No nodes yet'),
      h('p', null, 'Make one with the API, the Terraform provider or an SDK: it appears here by itself.'),
      h('code', null, 'POST /aws/ec2/managedInstance'));
  }

  #makePager() {
    const text = h('span', {role: 'status'});
    const step = (by, label) => h('button', {type: 'button', class: 'plain', on: {click: (event) => {
      if (event.currentTarget.getAttribute('aria-disabled') === 'true') return;
      this.#change({page: this.#view.page + by});
      this.#body.scrollIntoView({block: 'start'});
    }}}, label);
    const back = step(-1, '← Previous');
    const on = step(1, 'Next →');
    const element = h('nav', {class: 'pager', 'aria-label': 'Pages', hidden: true}, back, text, on);
    return {element, set(first, count, all) {
      element.hidden = all <= PAGE_SIZE;
      setText(text, `${whole(first + 1)}–${whole(first + count)} of ${whole(all)}`);
      setAttribute(back, 'aria-disabled', String(first === 0));
      setAttribute(on, 'aria-disabled', String(first + count >= all));
    }};
  }

  #tellChanges(nodes) {
    if (!this.#nodes) return;
    const before = new Map(this.#nodes.map((node) => [node.id, node.status]));
    const changed = nodes.filter(({id, status}) => before.get(id) !== status);
    const gone = before.size + changed.filter(({id}) => !before.has(id)).length - nodes.length;
    const words = changed.length > 3 ? [`${plural(changed.length, 'node')} changed`]
      : changed.map(({name, status}) => `${name}: ${stateOf(status).label}`);
    if (gone > 0) words.push(`${plural(gone, 'node')} gone`);
    if (words.length) announce(words.join(', '));
  }
}
