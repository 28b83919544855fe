// The table of nodes; at phone width its rows become cards.
import {h, setAttribute, setChildren, setText} from './dom.js';
import {ago, bytes, market, millis, money, percent} from './format.js';
import {stateBadge} from './states.js';

const ORDER = new Intl.Collator('en', {numeric: true});
const byText = (read) => (a, b) => ORDER.compare(read(a), read(b));
const byNumber = (read) => (a, b) => read(a) - read(b);

/** What can be sorted by: the first direction is the one people want first. */
export const COLUMNS = [
  {key: 'name', label: 'Node', compare: byText((node) => node.name)},
  {key: 'state', label: 'State', compare: byText((node) => node.status)},
  {key: 'market', label: 'Market', compare: byText((node) => node.lifeCycle ?? '')},
  {key: 'type', label: 'Type', compare: byText((node) => node.instanceType ?? '')},
  {key: 'zone', label: 'Zone', compare: byText((node) => node.availabilityZone ?? '')},
  {key: 'address', label: 'Private address', compare: byText((node) => node.privateIp ?? '')},
  {key: 'checkpoint', label: 'Last checkpoint', descends: true,
   compare: byNumber((node) => node.lastCheckpoint ? Date.parse(node.lastCheckpoint.time) : 0)},
  {key: 'savings', label: 'Savings', descends: true, number: true,
   compare: byNumber((node) => node.costs?.percent ?? -Infinity)},
];

class Row {
  #link = h('a', {class: 'node-name'});
  #id = h('span', {class: 'id'});
  #badge = stateBadge();
  #reason = h('span', {class: 'reason'});
  #cells = {};
  #age = h('span', {class: 'first'});
  #size = h('span', {class: 'second'});
  #percent = h('span', {class: 'first'});
  #money = h('span', {class: 'second'});
  #status = null;

  constructor(id) {
    this.#link.href = `#/node/${id}`;
    const cell = (label, ...content) => h('td', {role: 'cell', 'data-label': label}, ...content);
    this.#id.textContent = id;
    for (const label of ['Market', 'Type', 'Zone', 'Private address']) this.#cells[label] = cell(label);
    this.#cells.Type.classList.add('nowrap');
    this.#cells['Private address'].classList.add('mono');
    const savings = cell('Savings', this.#percent, this.#money);
    savings.classList.add('number');
    this.element = h('tr', {role: 'row'},
      h('th', {scope: 'row', role: 'rowheader'}, this.#link, this.#id),
      cell('State', this.#badge.element, this.#reason), ...Object.values(this.#cells),
      cell('Last checkpoint', this.#age, this.#size), savings);
  }

  set(node) {
    const {status, name, stateReason, lastCheckpoint, costs} = node;
    if (this.#status !== null && this.#status !== status) this.#flash();
    this.#status = status;
    setText(this.#link, name);
    this.#badge.set(status);
    setText(this.#reason, stateReason ?? '');
    setAttribute(this.#reason, 'title', stateReason ?? null);
    setText(this.#cells.Market, market(node.lifeCycle));
    setText(this.#cells.Type, node.instanceType ?? '–');
    setText(this.#cells.Zone, node.availabilityZone ?? '–');
    setText(this.#cells['Private address'], node.privateIp ?? '–');
    setText(this.#age, lastCheckpoint ? ago(Date.parse(lastCheckpoint.time)) : '–');
    setText(this.#size, !lastCheckpoint ? '' : lastCheckpoint.error ? '✕ failed'
      : `${millis(lastCheckpoint.frozenMs)} · ${bytes(lastCheckpoint.bytesStored)}`);
    setAttribute(this.#size, 'title', !lastCheckpoint ? null
      : lastCheckpoint.error ?? 'frozen for this long, stored this much');
    setAttribute(this.#size, 'class', lastCheckpoint?.error ? 'second bad' : 'second');
    setText(this.#percent, !costs ? '…' : costs.percent === null ? '–' : percent(costs.percent));
    setText(this.#money, costs?.percent != null ? money(costs.potential - costs.actual) : '');
  }

  #flash() {
    this.element.classList.remove('changed');
    requestAnimationFrame(() => this.element.classList.add('changed'));
  }
}

export class NodesTable {
  #rows = new Map();
  #body = h('tbody', {role: 'rowgroup'});
  #heads = new Map();

  /** `onSort(key)`: a head was pressed. */
  constructor(onSort) {
    const heads = COLUMNS.map(({key, label, number}) => {
      const head = h('th', {scope: 'col', role: 'columnheader', class: number ? 'number' : undefined},
        h('button', {type: 'button', class: 'sort', on: {click: () => onSort(key)}}, label,
          h('span', {class: 'sort-sign', 'aria-hidden': 'true'})));
      this.#heads.set(key, head);
      return head;
    });
    this.element = h('table', {class: 'cards nodes', role: 'table', 'aria-label': 'Nodes'},
      h('thead', {role: 'rowgroup'}, h('tr', {role: 'row'}, heads)), this.#body);
  }

  set(nodes, sort, descending) {
    for (const [key, head] of this.#heads) {
      setAttribute(head, 'aria-sort', key !== sort ? null : descending ? 'descending' : 'ascending');
      setText(head.querySelector('.sort-sign'), key !== sort ? '' : descending ? '▼' : '▲');
    }
    const before = this.#rows;
    this.#rows = new Map();
    for (const node of nodes) {
      const row = before.get(node.id) ?? new Row(node.id);
      row.set(node);
      this.#rows.set(node.id, row);
    }
    setChildren(this.#body, [...this.#rows.values()].map(({element}) => element));
  }
}
