// Sends a newsletter's sign-up form without leaving the page:
//   <form data-newsletter …>…</form><div role="status"></div><script defer src="…/static/embed.js"></script>
// Whatever goes wrong, the form is sent as if this script were not there.
(function () {
  'use strict';
  const script = document.currentScript;
  const LEAST = 2500; // Milliseconds: what comes back sooner is taken for a robot's.

  function json(answer) { return answer.json(); }

  function later(milliseconds) {
    return new Promise(function (go) { setTimeout(go, Math.max(0, milliseconds)); });
  }

  function prove(work) {
    if (!work) return '';
    if (window.mailerProof) return window.mailerProof(work);
    return new Promise(function (go, stop) {
      const more = document.createElement('script');
      more.src = new URL('proof.js', script.src);
      more.onload = function () { window.mailerProof(work).then(go, stop); };
      more.onerror = stop;
      document.head.append(more);
    });
  }

  document.querySelectorAll('form[data-newsletter]').forEach(function (form) {
    const said = form.nextElementSibling;
    let stamped;

    function stamp() {
      stamped = stamped || fetch(form.action + '/stamp', { credentials: 'omit' }).then(json).then(async function (told) {
        told.since = performance.now();
        told.altcha = await prove(told.work);
        return told;
      });
      return stamped;
    }

    form.addEventListener('focusin', function () { stamp().catch(function () {}); }, { once: true });
    form.addEventListener('submit', async function (event) {
      const button = form.querySelector('button');
      event.preventDefault();
      if (button.disabled) return;
      button.disabled = true;
      try {
        const told = await stamp();
        await later(LEAST - (performance.now() - told.since));
        const body = new URLSearchParams(new FormData(form));
        body.set('t', told.t);
        body.set('altcha', told.altcha);
        const headers = { Accept: 'application/json' };
        const answer = await fetch(form.action, { method: 'POST', body, headers, credentials: 'omit' });
        if (answer.status !== 202) throw new Error('The page says what is wrong.');
        said.textContent = (await answer.json()).message;
        said.tabIndex = -1;
        form.hidden = true;
        said.focus();
      } catch {
        button.disabled = false;
        HTMLFormElement.prototype.submit.call(form);
      }
    });
  });
})();
