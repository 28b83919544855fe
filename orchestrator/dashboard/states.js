// The states of a node, what they look like, and which events begin them.
import {h, svg} from './dom.js';

// tone: a group of states that look and filter alike.
const STATES = {
  ACTIVE: {label: 'Active', tone: 'ok'},
  PAUSE: {label: 'Pause asked', tone: 'changing'},
  PAUSING: {label: 'Pausing', tone: 'changing'},
  PAUSED: {label: 'Paused', tone: 'paused'},
  RESUME: {label: 'Resume asked', tone: 'changing'},
  RESUMING: {label: 'Resuming', tone: 'changing'},
  RECYCLE: {label: 'Recycle asked', tone: 'changing'},
  RECYCLING: {label: 'Recycling', tone: 'changing'},
  DEALLOCATE: {label: 'Deletion asked', tone: 'changing'},
  DEALLOCATING: {label: 'Deleting', tone: 'changing'},
  DEALLOCATED: {label: 'Deleted', tone: 'gone'},
  ERROR: {label: 'Error', tone: 'error'},
};

export const TONES = [
  {tone: 'ok', label: 'Active'},
  {tone: 'paused', label: 'Paused'},
  {tone: 'changing', label: 'Changing'},
  {tone: 'error', label: 'Error'},
];

export function stateOf(name) {
  return STATES[name] ?? {label: name, tone: 'gone'};
}

const EVENT_PREFIX = 'AWS_EC2_MANAGED_INSTANCE_';
const STATE_BY_EVENT = {
  ACTIVE: 'ACTIVE', NOT_RECYCLED: 'ACTIVE', PAUSING: 'PAUSING', PAUSED: 'PAUSED',
  RESUMING: 'RESUMING', RECYCLING: 'RECYCLING', DELETING: 'DEALLOCATING', DELETED: 'DEALLOCATED',
  RELEASED: 'DEALLOCATED', ERROR: 'ERROR',
};

/** The state that an event of this type begins, or null. */
export function stateAfter(eventType) {
  if (!eventType.startsWith(EVENT_PREFIX)) return null;
  return STATE_BY_EVENT[eventType.slice(EVENT_PREFIX.length)] ?? null;
}

/** "AWS_EC2_MANAGED_INSTANCE_PAUSING" as people say it. */
export function eventTitle(eventType) {
  const words = eventType.replace(EVENT_PREFIX, '').replace(/^AWS_EC2_/, '').toLowerCase().replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

const ALLOWED = {
  pause: ['ACTIVE'],
  resume: ['PAUSED', 'ERROR'],
  recycle: ['ACTIVE', 'PAUSED', 'ERROR'],
};

export function mayAct(action, stateName) {
  return ALLOWED[action].includes(stateName);
}

/** A shape for each tone, so that none depends on its colour. */
export function shape(tone) {
  const icon = svg('svg', {class: `shape tone-${tone}`, viewBox: '0 0 16 16', 'aria-hidden': 'true'});
  if (tone === 'ok') {
    icon.append(svg('circle', {cx: 8, cy: 8, r: 6, class: 'solid'}));
  } else if (tone === 'paused') {
    icon.append(svg('rect', {x: 3, y: 2, width: 3.6, height: 12, rx: 1, class: 'solid'}),
                svg('rect', {x: 9.4, y: 2, width: 3.6, height: 12, rx: 1, class: 'solid'}));
  } else if (tone === 'changing') {
    icon.append(svg('path', {d: 'M8 2.2a5.8 5.8 0 1 1-5.8 5.8', class: 'stroke'}),
                svg('path', {d: 'M8 0v4.6L5 2.3Z', class: 'solid'}));
  } else if (tone === 'error') {
    icon.append(svg('path', {d: 'M8 1 15.5 14.5H.5Z', class: 'solid'}),
                svg('path', {d: 'M8 6v4M8 12v.6', class: 'cut'}));
  } else {
    icon.append(svg('path', {d: 'M3.5 3.5l9 9M12.5 3.5l-9 9', class: 'stroke'}));
  }
  return icon;
}

/** Shape and words; set(name) shows another state. */
export function stateBadge() {
  const text = h('span');
  const element = h('span', {class: 'badge'}, text);
  let shown = null;
  return {
    element,
    set(name) {
      if (name === shown) return;
      shown = name;
      const {label, tone} = stateOf(name);
      element.className = `badge tone-${tone}`;
      element.replaceChildren(shape(tone), text);
      text.textContent = label;
    },
  };
}
