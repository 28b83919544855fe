// A node's life: a band of its states over time, its events as marks above.
import {h, setText, svg} from './dom.js';
import {DAY, HOUR, dateTime, now, plural, span} from './format.js';
import {eventTitle, shape, stateAfter, stateOf} from './states.js';
import {onWidth, patterns, scale, timeTicks} from './svg.js';

const ZOOMS = [
  {label: '1 h', name: 'last hour', length: HOUR},
  {label: '24 h', name: 'last 24 hours', length: DAY},
  {label: '7 d', name: 'last 7 days', length: 7 * DAY},
  {label: 'All', name: 'whole life', length: null},
];
const MARKS_Y = 22;
const BAND_Y = 42;
const BAND_HEIGHT = 34;
const HEIGHT = 104;
const LETTER = 7.8;  // of a state's word, about
const MARK_APART = 20;
const MARK_EDGE = 11;  // a mark is seen whole
const PATTERNED = ['changing', 'error'];
const WORST = ['INFO', 'WARN', 'ERROR'];

export function severityOf(event) {
  const name = event.severity.toUpperCase();
  if (name.startsWith('ERR')) return 'ERROR';
  return name.startsWith('WARN') ? 'WARN' : 'INFO';
}

/** [{state, from, to}], oldest first; the last one is open: its `to` is `end`. */
export function stretches(events, current, end) {
  const found = [];
  for (const event of events) {
    const state = stateAfter(event.eventType);
    if (!state || found.at(-1)?.state === state) continue;
    if (found.length) found.at(-1).to = event.time;
    found.push({state, from: event.time, to: end});
  }
  // Histories are cut after a thousand events, and not every change has one.
  if (current && found.length && stateOf(current).tone !== stateOf(found.at(-1).state).tone) {
    const from = events.at(-1).time;
    found.at(-1).to = from;
    found.push({state: current, from, to: end});
  }
  return found.filter(({from, to}) => to > from || to === end);
}

function mark(severity, x, count) {
  const group = svg('g', {class: `mark mark-${severity.toLowerCase()}`, transform: `translate(${x} ${MARKS_Y})`});
  const size = count > 1 ? 9 : 5.5;
  if (severity === 'ERROR') {
    group.append(svg('rect', {x: -size, y: -size, width: 2 * size, height: 2 * size, rx: 2}));
  } else if (severity === 'WARN') {
    const tall = size + 2;
    group.append(svg('path', {d: `M0 ${-tall}L${tall} ${tall - 2}H${-tall}Z`}));
  } else {
    group.append(svg('circle', {r: size}));
  }
  if (count > 1) {
    group.append(svg('text', {y: severity === 'WARN' ? 6 : 4, class: 'mark-count'}, count > 99 ? '99' : String(count)));
  }
  group.append(svg('path', {d: `M0 ${size + 2}V${BAND_Y - MARKS_Y - 1}`, class: 'mark-stem'}));
  return group;
}

/** Events that would overlap become one mark. */
function cluster(events, x, width) {
  const groups = [];
  for (const event of events) {
    const at = Math.min(width - MARK_EDGE, Math.max(MARK_EDGE, x(event.time)));
    const last = groups.at(-1);
    if (last && at - last.x < MARK_APART) {
      last.events.push(event);
      if (WORST.indexOf(severityOf(event)) > WORST.indexOf(last.severity)) last.severity = severityOf(event);
    } else {
      groups.push({x: at, events: [event], severity: severityOf(event)});
    }
  }
  return groups;
}

function legend() {
  const item = (fill, tone, text) => h('li', null, h('span', {class: `swatch ${fill}`}), shape(tone), text);
  return h('ul', {class: 'legend', 'aria-label': 'Legend'},
    item('swatch-ok', 'ok', 'Active'), item('swatch-changing', 'changing', 'Changing'),
    item('swatch-paused', 'paused', 'Paused'), item('swatch-error', 'error', 'Error'));
}

export class TimeLine {
  #events = [];
  #current = null;
  #zoom = 1;
  #onZoom;
  #plot = h('div', {class: 'plot'});
  #tip = h('p', {class: 'readout'});
  #width = null;

  /** `onZoom(from)`: the window begins there now. */
  constructor(onZoom) {
    this.#onZoom = onZoom;
    const buttons = ZOOMS.map(({label, name}, i) => h('button', {
      type: 'button', 'aria-label': `Show ${name}`, on: {click: () => this.#choose(i)}}, label));
    this.buttons = h('div', {class: 'segments', role: 'group', 'aria-label': 'Time shown'}, buttons);
    this.element = h('div', {class: 'time-line'}, this.#plot, this.#tip, legend());
    this.#choose(this.#zoom);
    this.#width = onWidth(this.#plot, (width) => this.#draw(width));
  }

  /** `events` with `time`, oldest first; `current`: the state's name, or null. */
  set(events, current) {
    this.#events = events;
    this.#current = current;
    this.#width.redraw();
  }

  from() {
    const {length} = ZOOMS[this.#zoom];
    if (length !== null) return now() - length;
    const first = this.#events[0]?.time ?? now() - HOUR;
    return Math.min(first, now() - 60_000);
  }

  stop() { this.#width.stop(); }

  #choose(zoom) {
    this.#zoom = zoom;
    [...this.buttons.children].forEach((button, i) => button.setAttribute('aria-pressed', String(i === zoom)));
    this.#width?.redraw();
    this.#onZoom?.(this.from());
  }

  #draw(width) {
    const end = now();
    const begin = this.from();
    const x = scale(begin, end, 1, width - 1);
    const events = this.#events.filter(({time}) => time >= begin);
    const states = stretches(this.#events, this.#current, end).filter(({to}) => to > begin);
    const chart = svg('svg', {width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img',
      'aria-label': this.#summary(events, states)}, patterns(),
      svg('rect', {x: 0.5, y: BAND_Y, width: width - 1, height: BAND_HEIGHT, rx: 6, class: 'band-back'}));
    states.forEach((stretch) => chart.append(this.#stretch(stretch, x, begin)));
    for (const {time, label} of timeTicks(begin, end, Math.max(2, Math.floor(width / 110)))) {
      const at = x(time);
      const anchor = at < 24 ? 'start' : at > width - 24 ? 'end' : 'middle';
      chart.append(svg('path', {d: `M${at} ${BAND_Y + BAND_HEIGHT + 2}v5`, class: 'axis'}),
        svg('text', {x: at, y: HEIGHT - 6, 'text-anchor': anchor, class: 'axis-text'}, label));
    }
    const groups = cluster(events, x, width);
    groups.forEach((group) => chart.append(mark(group.severity, group.x, group.events.length)));
    const read = (event) => {
      const {left, top} = this.#plot.getBoundingClientRect();
      this.#read(event.clientX - left, event.clientY - top < BAND_Y ? groups : [], states, x);
    };
    chart.addEventListener('pointermove', read);
    chart.addEventListener('pointerdown', read);
    chart.addEventListener('pointerleave', () => this.#readNothing());
    this.#plot.replaceChildren(chart);
    if (!this.#tip.textContent) this.#readNothing();
  }

  #stretch({state, from, to}, x, begin) {
    const {label, tone} = stateOf(state);
    const left = x(Math.max(from, begin));
    const width = Math.max(1.5, x(to) - left);
    const group = svg('g', null, svg('rect', {x: left, y: BAND_Y, width, height: BAND_HEIGHT,
      rx: Math.min(6, width / 2), class: `band band-${tone}`, fill: PATTERNED.includes(tone) ? `url(#fill-${tone})` : null}));
    const plate = label.length * LETTER + 14;
    if (width > plate + 10) {
      // Words cannot be read on stripes.
      if (PATTERNED.includes(tone)) {
        group.append(svg('rect', {x: left + 5, y: BAND_Y + 7, width: plate, height: BAND_HEIGHT - 14, rx: 4, class: `plate plate-${tone}`}));
      }
      group.append(svg('text', {x: left + 5 + plate / 2, y: BAND_Y + 21.5, 'text-anchor': 'middle', class: `band-text band-text-${tone}`}, label));
    }
    return group;
  }

  #summary(events, states) {
    const {name} = ZOOMS[this.#zoom];
    const last = states.at(-1);
    return `Time line of the ${name}: ${plural(events.length, 'event')}, ` +
      `${plural(Math.max(0, states.length - 1), 'change')} of state` +
      `${last ? `, now ${stateOf(last.state).label}` : ''}. The events are listed below.`;
  }

  #read(at, groups, states, x) {
    const near = groups.findLast((group) => Math.abs(group.x - at) < MARK_APART / 2 + 2);
    if (near) {
      const {time, eventType, message} = near.events.at(-1);
      const more = near.events.length > 1 ? ` (and ${near.events.length - 1} more)` : '';
      setText(this.#tip, `${dateTime(time)}: ${eventTitle(eventType)}, ${message}${more}`);
      return;
    }
    const stretch = states.find(({from, to}) => x(from) <= at && at <= x(to));
    if (!stretch) return this.#readNothing();
    setText(this.#tip, `${stateOf(stretch.state).label} for ${span(stretch.to - stretch.from)}, from ${dateTime(stretch.from)}`);
  }

  #readNothing() {
    setText(this.#tip, this.#events.length ? 'Point at the line for details.' : 'No events yet.');
  }
}
