// One node: what it is, its life, its checkpoints, and what can be done to it.
import {Checkpoints} from './checkpoint_chart.js';
import {actionDone, actionVerb, confirmAction} from './dialog.js';
import {announce, h, setAttribute, setText} from './dom.js';
import {EventList} from './event_list.js';
import {bytes, millis} from './format.js';
import {agentFacts, detailFacts, noticeText, setHidden, topTiles, volumeFacts} from './node_facts.js';
import {mayAct, shape, stateBadge, stateOf} from './states.js';
import {TimeLine} from './time_line.js';

const SLOW_MS = 60_000;

function panel(title, content, extra = null) {
  const id = `panel-${title.toLowerCase().replaceAll(' ', '-')}`;
  return h('section', {class: 'panel', 'aria-labelledby': id},
    h('div', {class: 'panel-head'}, h('h2', {id}, title), extra), content);
}

// Answers may overlap when a page asks again early.
function append(list, items, timeName) {
  for (const item of items) {
    if (item.sequence > (list.at(-1)?.sequence ?? 0)) list.push({...item, time: Date.parse(item[timeName])});
  }
}

export class NodePage {
  #api;
  #savings;
  #id;
  #refresh;
  #status = null;
  #node = null;
  #events = [];
  #checkpoints = [];
  #checkpointsFor;  // the newest one's time when they were asked for
  #agent = null;
  #agentSupport = true;
  #configs = new Map();
  #slowAt = 0;
  #badge = stateBadge();
  #name = h('h1', {tabindex: '-1'}, 'Node');
  #reason = h('p', {class: 'reason-line', hidden: true});
  #notice = h('p', {class: 'notice', role: 'status', hidden: true});
  #gone = h('p', {class: 'notice', role: 'status', hidden: true});
  #buttons = new Map();
  #tiles = topTiles();
  #details = detailFacts();
  #volumes = volumeFacts();
  #agentPart;
  #eventList = new EventList();
  #timeLine;
  #chart;
  #content;
  #loading = h('p', {class: 'empty', 'aria-busy': 'true'}, h('span', {class: 'spinner', 'aria-hidden': 'true'}), 'Loading the node…');

  /** `refresh()`: asks for everything at once instead of with the next turn. */
  constructor(api, savings, id, refresh) {
    this.#api = api;
    this.#savings = savings;
    this.#id = id;
    this.#refresh = refresh;
    const nameOf = (configId) => this.#configs.get(configId) ?? configId;
    this.#agentPart = agentFacts(nameOf, shape);
    this.#chart = new Checkpoints(nameOf);
    this.#timeLine = new TimeLine((from) => this.#eventList.set(this.#events, from));
    const actions = ['pause', 'resume', 'recycle'].map((action) => {
      const button = h('button', {type: 'button', class: 'plain', on: {click: () => this.#act(action)}}, actionVerb(action));
      this.#buttons.set(action, button);
      return button;
    });
    this.#content = h('div', {hidden: true},
      this.#tiles.element,
      h('div', {class: 'columns'},
        h('div', {class: 'column'},
          panel('Life', this.#timeLine.element, this.#timeLine.buttons),
          panel('Checkpoints', this.#chart.element),
          panel('Events', this.#eventList.element)),
        h('div', {class: 'column side'},
          panel('Applications', this.#agentPart.element),
          panel('Volumes', this.#volumes.element),
          panel('Details', this.#details.element))));
    this.element = h('div', {class: 'page'},
      h('nav', {class: 'crumbs', 'aria-label': 'Breadcrumb'}, h('a', {href: '#/'}, '← All nodes')),
      h('div', {class: 'node-head'},
        h('div', {class: 'node-title'}, this.#name, this.#badge.element),
        h('div', {class: 'actions', role: 'group', 'aria-label': 'Actions'}, actions)),
      this.#reason, this.#notice, this.#gone, this.#loading, this.#content);
  }

  get title() { return this.#status?.name ?? this.#id; }

  async fetch(isCurrent) {
    const [status, events, agent] = await Promise.all([
      this.#unlessGone(this.#api.status(this.#id)),
      this.#unlessGone(this.#api.events(this.#id, this.#events.at(-1)?.sequence ?? 0)),
      this.#fetchAgent()]);
    if (!isCurrent()) return;
    if (this.#status && status && status.status !== this.#status.status) {
      announce(`${status.name}: ${stateOf(status.status).label}`);
    }
    const wasThere = this.#status !== null;
    this.#status = status ?? this.#status;
    this.#agent = agent;
    append(this.#events, events ?? [], 'createdAt');
    if (!status) return this.#drawGone(wasThere);
    this.#gone.hidden = true;
    this.draw();
    await Promise.all([this.#fetchCheckpoints(), this.#fetchSlow()]);
    if (isCurrent()) this.draw();
  }

  draw() {
    const status = this.#status;
    if (!status) return;
    this.#loading.hidden = true;
    this.#content.hidden = false;
    setText(this.#name, status.name);
    this.#badge.set(status.status);
    setHidden(this.#reason, status.stateReason ?? '');
    setHidden(this.#notice, noticeText(this.#agent?.notice, this.#agent?.noticeAt));
    for (const [action, button] of this.#buttons) {
      const fits = mayAct(action, status.status);
      setAttribute(button, 'aria-disabled', String(!fits));
      setAttribute(button, 'title', fits ? null : this.#whyNot(action));
    }
    const last = status.lastCheckpoint;
    this.#tiles.set(status, this.#savings.of(this.#id), !last ? 'none yet'
      : last.error ? 'failed' : `${millis(last.frozenMs)} frozen, ${bytes(last.bytesStored)} stored`);
    this.#details.set(status, this.#node);
    this.#volumes.set(status.devices ?? []);
    this.#agentPart.set(this.#agent, this.#agentSupport, [...this.#configs]);
    this.#timeLine.set(this.#events, status.status);
    this.#eventList.set(this.#events, this.#timeLine.from());
  }

  stop() {
    this.#timeLine.stop();
    this.#chart.stop();
  }

  #whyNot(action) {
    return `Cannot ${action} a node that is ${stateOf(this.#status.status).label}`;
  }

  // Null: there is no such node (any more).
  async #unlessGone(promise) {
    try {
      return await promise;
    } catch (error) {
      if (error.code === 'MANAGED_INSTANCE_DOESNT_EXIST') return null;
      throw error;
    }
  }

  #drawGone(wasThere) {
    this.#loading.hidden = true;
    setHidden(this.#gone, this.#events.length || wasThere ? 'This node is gone. What is left of it is its history.'
      : `There is no node ${this.#id} in this account.`);
    for (const button of this.#buttons.values()) button.hidden = true;
    if (!wasThere) setText(this.#name, this.#id);
    if (this.#events.length) {
      this.#content.hidden = false;
      this.#badge.set('DEALLOCATED');
      this.#timeLine.set(this.#events, 'DEALLOCATED');
      this.#eventList.set(this.#events, this.#timeLine.from());
    }
  }

  async #fetchAgent() {
    // Asked again with the slow calls: the controller may be updated while the page is open.
    if (!this.#agentSupport && Date.now() - this.#slowAt < SLOW_MS) return null;
    try {
      const agent = await this.#api.agent(this.#id);
      this.#agentSupport = true;
      return agent;
    } catch (error) {
      if (error.kind === 'unknown-call') this.#agentSupport = false;
      else if (error.kind !== 'refused') throw error;
      return null;
    }
  }

  // Only when the status tells of a new one: the list is long.
  async #fetchCheckpoints() {
    const newest = this.#status.lastCheckpoint?.time ?? null;
    if (newest === this.#checkpointsFor) return;
    try {
      const fresh = newest ? await this.#api.checkpoints(this.#id, this.#checkpoints.at(-1)?.sequence ?? 0) : [];
      append(this.#checkpoints, fresh, 'time');
    } catch (error) {
      if (error.kind !== 'unknown-call') throw error;
    }
    this.#checkpointsFor = newest;
    this.#chart.set(this.#checkpoints);
  }

  async #fetchSlow() {
    if (Date.now() - this.#slowAt < SLOW_MS) return;
    const [node, configs] = await Promise.all([
      this.#unlessGone(this.#api.node(this.#id)), this.#api.configs(), this.#savings.fetchSome([this.#id])]);
    this.#node = node ?? this.#node;
    this.#configs = new Map(configs.map(({id, name}) => [id, name]));
    this.#slowAt = Date.now();
    this.#chart.set(this.#checkpoints);
  }

  async #act(action) {
    if (!this.#status) return;
    if (!mayAct(action, this.#status.status)) return announce(this.#whyNot(action));
    const done = await confirmAction(action, this.#status.name, () => this.#api.act(this.#id, action));
    this.#buttons.get(action).focus();
    if (!done) return;
    announce(`${actionDone(action)}: ${this.#status.name}`);
    this.#refresh();
  }
}
