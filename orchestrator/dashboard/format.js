// Numbers and times as people read them. Times are milliseconds since 1970.

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;

// The controller's clock, as far as it differs from this machine's.
let clockOffset = 0;

export function learnClock(serverTime) {
  const offset = Date.parse(serverTime) - Date.now();
  // What the way takes is no difference.
  if (Number.isFinite(offset)) clockOffset = Math.abs(offset) < 1500 ? 0 : offset;
}

export function now() {
  return Date.now() + clockOffset;
}

const DATE_TIME = new Intl.DateTimeFormat('en-GB', {dateStyle: 'medium', timeStyle: 'medium'});
const TIME = new Intl.DateTimeFormat('en-GB', {timeStyle: 'medium'});
const WHOLE = new Intl.NumberFormat('en-US', {maximumFractionDigits: 0});
const MONEY = new Intl.NumberFormat('en-US', {style: 'currency', currency: 'USD'});

export const dateTime = (time) => DATE_TIME.format(time);
export const timeOfDay = (time) => TIME.format(time);
export const whole = (number) => WHOLE.format(number);
export const money = (dollars) => MONEY.format(dollars);

export function span(milliseconds) {
  const seconds = Math.max(0, milliseconds) / 1000;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) {
    const minutes = Math.floor(seconds / 60) % 60;
    return seconds < 6 * 3600 && minutes ? `${Math.floor(seconds / 3600)} h ${minutes} min`
                                         : `${Math.floor(seconds / 3600)} h`;
  }
  return `${Math.floor(seconds / 86400)} d`;
}

export function ago(time) {
  const passed = now() - time;
  return passed < 3000 ? 'just now' : `${span(passed)} ago`;
}

export function bytes(count) {
  let value = count;
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1024) return `${unit === 'B' || value >= 100 ? Math.round(value) : value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} TiB`;
}

export function millis(milliseconds) {
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

export function percent(value) {
  return `${Math.round(value)} %`;
}

export function market(lifeCycle) {
  if (lifeCycle === 'spot') return 'Spot';
  return lifeCycle === 'on_demand' ? 'On-demand' : '–';
}

export function plural(count, one, many = `${one}s`) {
  return `${whole(count)} ${count === 1 ? one : many}`;
}
