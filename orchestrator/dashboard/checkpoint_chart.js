// What checkpoints stored (bars) and how long they froze the application (a line), and a table.
import {h, setText, svg} from './dom.js';
import {ago, bytes, dateTime, millis} from './format.js';
import {onWidth, roundUp, scale} from './svg.js';

const SHOWN = 60;
const ROWS = 6;
const BARS = {top: 18, height: 92};
const LINE = {top: 140, height: 52};
const HEIGHT = 216;
const LEFT = 62;

function cells(checkpoint, nameOf) {
  const {time, configId, trigger, frozenMs, seconds, bytesCaptured, bytesStored, error} = checkpoint;
  const cell = (label, text, kind) => h('td', {role: 'cell', 'data-label': label, class: kind}, text);
  return [
    h('th', {scope: 'row', role: 'rowheader', 'data-label': 'Time', title: dateTime(time)}, ago(time)),
    cell('Application', nameOf(configId)),
    cell('Trigger', trigger || '–'),
    cell('Frozen', error ? '–' : millis(frozenMs), 'number'),
    cell('Took', error ? '–' : millis(seconds * 1000), 'number'),
    cell('Captured', error ? '–' : bytes(bytesCaptured), 'number'),
    cell('Stored', error ? '–' : bytes(bytesStored), 'number'),
    h('td', {role: 'cell', 'data-label': 'Result'}, error ? h('span', {class: 'bad'}, `✕ ${error}`) : '✓ stored'),
  ];
}

export class Checkpoints {
  #all = [];
  #nameOf;
  #plot = h('div', {class: 'plot'});
  #tip = h('p', {class: 'readout'});
  #rows = h('tbody', {role: 'rowgroup'});
  #more;
  #limit = ROWS;
  #width;
  #table;

  constructor(nameOf) {
    this.#nameOf = nameOf;
    const head = ['Time', 'Application', 'Trigger', 'Frozen', 'Took', 'Captured', 'Stored', 'Result'].map((text, i) =>
      h('th', {scope: 'col', role: 'columnheader', class: i > 2 && i < 7 ? 'number' : undefined}, text));
    this.#more = h('button', {type: 'button', class: 'plain', on: {click: () => {
      this.#limit += 50;
      this.#list();
    }}}, 'Show older');
    this.#table = h('table', {class: 'cards', role: 'table', 'aria-label': 'Checkpoints, newest first'},
      h('thead', {role: 'rowgroup'}, h('tr', {role: 'row'}, head)), this.#rows);
    this.element = h('div', null, this.#plot, this.#tip, this.#table, this.#more);
    this.#width = onWidth(this.#plot, (width) => this.#draw(width));
    this.set([]);
  }

  /** With `time` in milliseconds, oldest first. */
  set(all) {
    this.#all = all;
    const none = all.length === 0;
    this.#plot.hidden = none;
    this.#table.hidden = none;
    setText(this.#tip, none ? 'No checkpoint was reported yet.' : this.#last());
    this.#width.redraw();
    this.#list();
  }

  stop() { this.#width.stop(); }

  #last() {
    const shown = Math.min(SHOWN, this.#all.length);
    return `The last ${shown} of ${this.#all.length}. Point at a bar for details.`;
  }

  #list() {
    const newest = this.#all.slice(-this.#limit).reverse();
    this.#rows.replaceChildren(...newest.map((checkpoint) => h('tr', {role: 'row'}, cells(checkpoint, this.#nameOf))));
    this.#more.hidden = this.#all.length <= this.#limit;
  }

  #draw(width) {
    const shown = this.#all.slice(-SHOWN);
    if (!shown.length) return;
    const good = shown.filter(({error}) => !error);
    const step = (width - LEFT) / Math.max(shown.length, 12);
    const most = roundUp(Math.max(1, ...good.map(({bytesStored}) => bytesStored)), 1024);
    const longest = roundUp(Math.max(0.1, ...good.map(({frozenMs}) => frozenMs)));
    const barY = scale(0, most, BARS.top + BARS.height, BARS.top);
    const lineY = scale(0, longest, LINE.top + LINE.height, LINE.top);
    const middle = (i) => LEFT + (i + 0.5) * step;
    const frozen = good.map(({frozenMs}) => frozenMs).sort((a, b) => a - b);
    const chart = svg('svg', {width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img',
      'aria-label': `The last ${shown.length} checkpoints, ${shown.length - good.length} failed; frozen ` +
        `${frozen.length ? `${millis(frozen[0])} to ${millis(frozen.at(-1))}` : 'never'}. The table below has all figures.`});
    this.#axes(chart, width, barY, lineY, most, longest);
    shown.forEach((checkpoint, i) => {
      if (checkpoint.error) {
        const y = BARS.top + BARS.height - 9;
        chart.append(svg('path', {d: `M${middle(i) - 4} ${y - 4}l8 8m0-8l-8 8`, class: 'cross'}));
        return;
      }
      const top = Math.min(barY(checkpoint.bytesStored), BARS.top + BARS.height - 1.5);
      const bar = Math.max(1, Math.min(26, step * 0.72));
      chart.append(svg('rect', {x: middle(i) - bar / 2, y: top, width: bar, height: BARS.top + BARS.height - top,
        rx: Math.min(2, bar / 2), class: 'bar'}));
    });
    const points = shown.map((checkpoint, i) => ({checkpoint, x: middle(i)})).filter(({checkpoint}) => !checkpoint.error);
    chart.append(svg('path', {class: 'line',
      d: points.map(({checkpoint, x}, i) => `${i ? 'L' : 'M'}${x} ${lineY(checkpoint.frozenMs)}`).join('')}));
    points.forEach(({checkpoint, x}) => chart.append(svg('circle', {cx: x, cy: lineY(checkpoint.frozenMs), r: step > 9 ? 2.6 : 1.6, class: 'dot'})));
    this.#follow(chart, shown, step);
    this.#plot.replaceChildren(chart);
  }

  #axes(chart, width, barY, lineY, most, longest) {
    const rule = (y, text) => chart.append(svg('path', {d: `M${LEFT} ${y}H${width}`, class: 'rule'}),
      svg('text', {x: LEFT - 8, y: y + 4, 'text-anchor': 'end', class: 'axis-text'}, text));
    chart.append(svg('text', {x: LEFT, y: 10, class: 'axis-title'}, 'Stored'),
      svg('text', {x: LEFT, y: LINE.top - 8, class: 'axis-title'}, 'Frozen'));
    for (const part of [0, 0.5, 1]) rule(barY(most * part), bytes(most * part));
    for (const part of [0, 1]) rule(lineY(longest * part), part ? millis(longest) : '0 ms');
    const ends = this.#all.slice(-SHOWN);
    chart.append(svg('text', {x: LEFT, y: HEIGHT - 4, class: 'axis-text'}, ago(ends[0].time)),
      svg('text', {x: width, y: HEIGHT - 4, 'text-anchor': 'end', class: 'axis-text'}, ago(ends.at(-1).time)));
  }

  #follow(chart, shown, step) {
    const cursor = svg('rect', {y: BARS.top, height: LINE.top + LINE.height - BARS.top, width: step, class: 'cursor', visibility: 'hidden'});
    chart.prepend(cursor);
    const read = (event) => {
      const i = Math.floor((event.clientX - chart.getBoundingClientRect().left - LEFT) / step);
      const checkpoint = shown[i];
      cursor.setAttribute('visibility', checkpoint ? 'visible' : 'hidden');
      if (!checkpoint) return;
      cursor.setAttribute('x', LEFT + i * step);
      const {time, error, frozenMs, bytesStored, bytesCaptured} = checkpoint;
      setText(this.#tip, `${dateTime(time)}: ${error ? `failed, ${error}`
        : `${bytes(bytesStored)} stored of ${bytes(bytesCaptured)}, frozen ${millis(frozenMs)}`}`);
    };
    chart.addEventListener('pointermove', read);
    chart.addEventListener('pointerdown', read);
    chart.addEventListener('pointerleave', () => {
      cursor.setAttribute('visibility', 'hidden');
      setText(this.#tip, this.#last());
    });
  }
}
