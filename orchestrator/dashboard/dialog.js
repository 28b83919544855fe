// Asks before something is done to a node, and shows the API's answer when it is refused.
import {h} from './dom.js';

const ACTIONS = {
  pause: {
    verb: 'Pause', done: 'Pause asked for',
    text: 'What the node persists is saved, then its instance is terminated. It costs no instance hours until it is resumed.',
  },
  resume: {
    verb: 'Resume', done: 'Resume asked for',
    text: 'A new instance is launched with what was saved: volumes, address and applications, as the node is configured.',
  },
  recycle: {
    verb: 'Recycle', done: 'Recycle asked for',
    text: 'What the node persists is saved, and its instance is replaced by a new one. The node is away meanwhile.',
  },
};

export const actionVerb = (action) => ACTIONS[action].verb;
export const actionDone = (action) => ACTIONS[action].done;

/** Resolves to whether it was done. `run` does it; its error is shown and may be tried again. */
export function confirmAction(action, name, run) {
  const {verb, text} = ACTIONS[action];
  const error = h('div', {class: 'dialog-error', role: 'alert', hidden: true});
  const cancel = h('button', {type: 'button', class: 'plain'}, 'Cancel');
  const go = h('button', {type: 'button', class: 'primary'}, verb);
  const dialog = h('dialog', {class: 'dialog', 'aria-labelledby': 'dialog-title', 'aria-describedby': 'dialog-text'},
    h('h2', {id: 'dialog-title'}, `${verb} ${name}?`),
    h('p', {id: 'dialog-text'}, text),
    error,
    h('div', {class: 'dialog-buttons'}, cancel, go));
  document.body.append(dialog);
  return new Promise((resolve) => {
    let done = false;
    let working = false;
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(done);
    });
    // What is under way is waited for: nobody should guess whether it was asked.
    dialog.addEventListener('cancel', (event) => { if (working) event.preventDefault(); });
    cancel.addEventListener('click', () => { if (!working) dialog.close(); });
    go.addEventListener('click', async () => {
      if (working) return;
      working = true;
      error.hidden = true;
      go.textContent = 'Asking…';
      try {
        await run();
        done = true;
        dialog.close();
      } catch (failure) {
        error.replaceChildren(
          h('strong', null, failure.code || 'Not done'), h('p', null, failure.message));
        error.hidden = false;
        go.textContent = 'Try again';
        cancel.textContent = 'Close';
      } finally {
        working = false;
      }
    });
    dialog.showModal();
    cancel.focus();
  });
}
