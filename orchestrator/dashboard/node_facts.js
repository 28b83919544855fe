// The parts of a node's page that are lists of facts.
import {h, setText} from './dom.js';
import {ago, dateTime, market, money, percent} from './format.js';

/** Draws only when what it is given has changed; ages are told again each minute. */
export function facts(element, make) {
  let shown = '';
  return {element, set(...values) {
    const key = JSON.stringify(values) + Math.floor(Date.now() / 15_000);
    if (key === shown) return;
    shown = key;
    element.replaceChildren(...[make(...values)].flat().filter(Boolean));
  }};
}

function pairs(list) {
  return h('dl', {class: 'facts'}, list.filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([name, value, kind]) => h('div', null, h('dt', null, name), h('dd', {class: kind}, value))));
}

function persisted({persistRootDevice, persistBlockDevices, persistPrivateIp, persistApplication} = {}) {
  const parts = [[persistApplication, 'applications'], [persistRootDevice, 'root volume'],
    [persistBlockDevices, 'data volumes'], [persistPrivateIp, 'private address']];
  return parts.filter(([on]) => on).map(([, name]) => name).join(', ') || 'nothing';
}

export function detailFacts() {
  return facts(h('div'), (status, node) => pairs([
    ['Node', status.id, 'mono'],
    ['Instance', status.instanceId, 'mono'],
    ['Image', status.imageId, 'mono'],
    ['Private address', status.privateIp, 'mono'],
    ['Public address', status.publicIp, 'mono'],
    ['IPv6 address', status.ipv6Address, 'mono'],
    ['Region', node?.region],
    ['Persists', node ? persisted(node.persistence) : null],
    ['Description', node?.description],
    ['Launched', status.launchedAt ? dateTime(Date.parse(status.launchedAt)) : null],
    ['Created', dateTime(Date.parse(status.createdAt))],
  ]));
}

function tile(label, value, note) {
  return h('div', {class: 'tile'}, h('span', {class: 'tile-label'}, label), h('strong', null, value), h('span', null, note));
}

export function topTiles() {
  return facts(h('section', {class: 'tiles four', 'aria-label': 'Key figures'}), (status, costs, checkpointText) => [
    tile('Market', market(status.lifeCycle), status.availabilityZone ?? 'no instance'),
    tile('Instance type', status.instanceType ?? '–', status.privateIp ?? 'no address'),
    tile('Last checkpoint', status.lastCheckpoint ? ago(Date.parse(status.lastCheckpoint.time)) : '–', checkpointText),
    tile('Saved in 30 days', costs?.percent != null ? percent(costs.percent) : '–',
      costs?.percent != null ? `${money(costs.potential - costs.actual)} of ${money(costs.potential)}`
        : costs ? 'nothing ran' : 'not known yet'),
  ]);
}

export function volumeFacts() {
  return facts(h('div'), (devices) => devices.length
    ? h('ul', {class: 'things'}, devices.map(({deviceName, volumeId, snapshotId}) => h('li', null,
      h('span', {class: 'mono strong'}, deviceName), h('span', {class: 'mono'}, volumeId),
      h('span', {class: 'mono muted'}, snapshotId ? `from ${snapshotId}` : 'no snapshot yet'))))
    : h('p', {class: 'muted'}, 'No volumes are attached.'));
}

const APPLICATION_TONES = {running: 'ok', starting: 'changing', checkpointing: 'changing', stopping: 'changing', failed: 'error', ended: 'gone'};
export const toneOfApplication = (state) => APPLICATION_TONES[state] ?? 'gone';

function application({configId, state, restoredFrom, reason, error, checkpointId, checkpointAt}, nameOf, shape) {
  const tone = toneOfApplication(state);
  return h('li', null,
    h('span', {class: 'strong'}, nameOf(configId)),
    h('span', {class: `badge tone-${tone}`}, shape(tone), h('span', null, state)),
    h('span', {class: 'muted wide'}, restoredFrom ? `Restored from ${restoredFrom}` : 'Started afresh', reason ? `: ${reason}` : ''),
    checkpointId ? h('span', {class: 'muted wide'}, `Newest checkpoint ${checkpointId}`,
      checkpointAt ? `, ${ago(Date.parse(checkpointAt))}` : '') : null,
    error ? h('span', {class: 'bad wide'}, error) : null);
}

/** `support`: whether the controller can tell at all; `names` only says when to draw again. */
export function agentFacts(nameOf, shape) {
  return facts(h('div'), (agent, support) => {
    if (!support) return h('p', {class: 'muted'}, 'This controller does not tell what agents report.');
    if (!agent) return h('p', {class: 'muted'}, 'No agent has reported yet.');
    const seen = agent.seenAt ? `seen ${ago(Date.parse(agent.seenAt))}` : 'never seen';
    return [
      h('p', {class: 'agent-line'}, h('span', {class: `badge tone-${agent.healthy ? 'ok' : 'error'}`},
        shape(agent.healthy ? 'ok' : 'error'), h('span', null, agent.healthy ? 'Agent healthy' : 'Agent not healthy')),
        h('span', {class: 'muted'}, [agent.version, seen].filter(Boolean).join(', '))),
      agent.applications?.length
        ? h('ul', {class: 'things'}, agent.applications.map((one) => application(one, nameOf, shape)))
        : h('p', {class: 'muted'}, 'No applications.'),
    ];
  });
}

/** What the cloud announced for the instance, as a sentence; empty: nothing. */
export function noticeText(notice, noticeAt) {
  if (!notice) return '';
  const action = typeof notice === 'string' ? notice : notice.action ?? notice.kind ?? 'change';
  const at = noticeAt ?? notice.at ?? notice.time;
  const when = at ? ` at ${dateTime(Date.parse(at))}` : '';
  return action === 'rebalance' ? `The cloud recommends to leave this instance${when ? `, said${when}` : ''}.`
                                : `The cloud announced “${action}” for this instance${when}.`;
}

export function setHidden(element, text) {
  setText(element, text);
  element.hidden = !text;
}
