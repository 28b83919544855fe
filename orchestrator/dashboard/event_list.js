// The events that the time line shows, as text, newest first.
import {h} from './dom.js';
import {dateTime, plural} from './format.js';
import {eventTitle} from './states.js';
import {severityOf} from './time_line.js';

const SHOWN = 20;
const WORDS = {INFO: 'Info', WARN: 'Warning', ERROR: 'Error'};
const SIGNS = {INFO: '●', WARN: '▲', ERROR: '■'};

function row(event) {
  const severity = severityOf(event);
  return h('li', {class: `event event-${severity.toLowerCase()}`},
    h('time', {datetime: event.createdAt}, dateTime(event.time)),
    h('span', {class: 'event-sign'}, h('span', {'aria-hidden': 'true'}, SIGNS[severity]),
      h('span', {class: 'unseen'}, `${WORDS[severity]}: `)),
    h('span', {class: 'event-text'}, h('strong', null, eventTitle(event.eventType)), ` ${event.message}`));
}

export class EventList {
  #limit = SHOWN;
  #list = h('ol', {class: 'events', reversed: true});
  #summary = h('p', {class: 'muted'});
  #more;
  #shown = '';
  #last = [[], 0];

  constructor() {
    this.#more = h('button', {type: 'button', class: 'plain', on: {click: () => {
      this.#limit = Infinity;
      this.set(...this.#last);
    }}}, 'Show all');
    this.element = h('div', null, this.#summary, this.#list, this.#more);
  }

  /** Oldest first; those before `from` are left out. */
  set(events, from) {
    this.#last = [events, from];
    const inside = events.filter(({time}) => time >= from).reverse();
    const key = `${inside.length} ${inside[0]?.sequence} ${events.length} ${this.#limit}`;
    if (key === this.#shown) return;
    this.#shown = key;
    this.#summary.textContent = inside.length === events.length ? plural(events.length, 'event')
      : `${plural(inside.length, 'event')} in the time shown, ${events.length} in all`;
    this.#list.replaceChildren(...inside.slice(0, this.#limit).map(row));
    this.#more.hidden = inside.length <= this.#limit;
  }
}
