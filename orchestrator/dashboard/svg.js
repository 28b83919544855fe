// What charts share: scales, round ticks, patterns.
import {svg} from './dom.js';

/** Maps [from, to] to [start, end]. */
export function scale(from, to, start, end) {
  const factor = to > from ? (end - start) / (to - from) : 0;
  return (value) => start + (value - from) * factor;
}

/** The smallest round number, in steps that suit the base, that is not below `value`. */
export function roundUp(value, base = 10) {
  if (value <= 0) return 1;
  const magnitude = base ** Math.floor(Math.log(value) / Math.log(base));
  const steps = base === 1024 ? [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] : [1, 2, 2.5, 5, 10];
  return magnitude * steps.find((step) => step * magnitude >= value * 0.999999);
}

const TICKS_MS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 10080, 20160, 43200]
  .map((minutes) => minutes * 60_000);

/** Times at round places of the local clock, about `wanted` of them, and how to write them. */
export function timeTicks(from, to, wanted) {
  const step = TICKS_MS.find((tick) => (to - from) / tick <= wanted) ?? TICKS_MS.at(-1);
  const zone = new Date(from).getTimezoneOffset() * 60_000;
  const ticks = [];
  for (let time = Math.ceil((from - zone) / step) * step + zone; time <= to; time += step) ticks.push(time);
  const days = step >= 24 * 3_600_000 || to - from > 2 * 24 * 3_600_000;
  const format = new Intl.DateTimeFormat('en-GB', days && step >= 12 * 3_600_000
    ? {day: 'numeric', month: 'short'}
    : days ? {day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit'}
           : {hour: '2-digit', minute: '2-digit'});
  return ticks.map((time) => ({time, label: format.format(time)}));
}

/** Fills for what must not be told by its colour alone. */
export function patterns() {
  return svg('defs', null,
    svg('pattern', {id: 'fill-changing', width: 8, height: 8, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)'},
      svg('rect', {width: 8, height: 8, class: 'pattern-back'}), svg('rect', {width: 4, height: 8, class: 'pattern-stripe'})),
    svg('pattern', {id: 'fill-error', width: 6, height: 6, patternUnits: 'userSpaceOnUse'},
      svg('rect', {width: 6, height: 6, class: 'pattern-error'}), svg('path', {d: 'M0 0l6 6M6 0L0 6', class: 'pattern-cross'})));
}

/** Calls draw(width) now and whenever the element gets another width. */
export function onWidth(element, draw) {
  let width = 0;
  const observer = new ResizeObserver(([entry]) => {
    const next = Math.floor(entry.contentRect.width);
    if (next === width || next === 0) return;
    width = next;
    draw(width);
  });
  observer.observe(element);
  return {redraw: () => { if (width) draw(width); }, stop: () => observer.disconnect()};
}
