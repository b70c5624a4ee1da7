// Makes the desk quicker; pages work without it.
(function () {
  'use strict';
  const html = document.documentElement;
  html.className = 'js';
  const status = document.getElementById('said');
  function say(words) { if (status && words) { status.textContent = ''; setTimeout(function () { status.textContent = words; }, 50); } }

  document.querySelectorAll('[data-until]').forEach(function (timer) {
    const until = Date.parse(timer.dataset.until);
    setInterval(function () {
      const left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
      timer.textContent = timer.dataset.words.replace('{time}', Math.floor(left / 60) + ':' + String(left % 60).padStart(2, '0'));
    }, 250);
  });

  // The list of articles changes without leaving the page, so that the focus stays where it was.
  const list = () => document.getElementById('articles');
  function row(element) { return element && element.closest('[data-article]'); }
  async function post(form, extra) {
    const data = new URLSearchParams(new FormData(form));
    Object.entries(extra).forEach(function (pair) { data.set(pair[0], pair[1]); });
    const answer = await fetch(form.getAttribute('action'), { method: 'POST', body: data });
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const fresh = page.getElementById('articles');
    if (!answer.ok || !fresh) { form.submit(); return false; }
    list().replaceWith(fresh);
    take(page);
    return true;
  }
  function take(page) {
    const version = page.querySelector('input[name=version]');
    if (version) { renew(version.value); }
    const toast = page.getElementById('toast');
    const old = document.getElementById('toast');
    if (toast && old) { old.replaceWith(toast); }
    const frame = document.querySelector('#preview iframe');
    if (frame) { frame.src = frame.getAttribute('src'); }
  }
  function renew(version) {
    document.querySelectorAll('input[name=version]').forEach(function (one) { one.value = version; });
  }
  async function act(article, name, extra) {
    const form = article && article.querySelector('form');
    if (!form) { return; }
    const id = article.dataset.article;
    const focused = document.activeElement && document.activeElement.value;
    if (!await post(form, { act: name, article: id, ...extra })) { return; }
    const now = list().querySelector('[data-article="' + id + '"]');
    if (!now) { say(list().dataset.gone); step(1); return; }
    const same = now.querySelector('button[value="' + focused + '"]');
    (same && !same.disabled ? same : now).focus();
    say(list().dataset.moved.replace('{position}', now.dataset.position).replace('{count}', list().dataset.count));
  }
  document.addEventListener('submit', function (event) {
    const button = event.submitter;
    if (list() && list().contains(event.target) && button && button.name === 'act' && row(button)) {
      event.preventDefault();
      act(row(button), button.value);
    }
  });
  document.addEventListener('change', function (event) {
    if (list() && event.target.name === 'layout' && row(event.target)) { act(row(event.target), 'layout', { layout: event.target.value }); }
  });

  let dragged = null;
  document.addEventListener('dragstart', function (event) {
    dragged = row(event.target);
    if (dragged) { event.dataTransfer.setData('text/plain', dragged.dataset.article); }
  });
  document.addEventListener('dragover', function (event) { if (dragged && row(event.target)) { event.preventDefault(); } });
  document.addEventListener('drop', function (event) {
    const target = row(event.target);
    if (dragged && target && target !== dragged) { event.preventDefault(); act(dragged, 'place', { place: target.dataset.position }); }
    dragged = null;
  });

  // Autosave, by htmx.
  document.addEventListener('htmx:afterRequest', function (event) {
    const version = event.detail.xhr && event.detail.xhr.getResponseHeader('X-Version');
    if (version) { renew(version); }
  });

  // Keys: single letters only where nobody types, and not for who switched them off.
  const places = { o: '/admin', i: '/admin/issues', a: '/admin/articles', s: '/admin/subscribers' };
  const layouts = { 1: 'lead', 2: 'card', 3: 'brief' };
  let before = '';
  document.addEventListener('keydown', function (event) {
    const key = event.key;
    if ((event.metaKey || event.ctrlKey) && key.toLowerCase() === 'k') { event.preventDefault(); location.assign('/admin/search'); return; }
    const article = row(document.activeElement);
    if (event.altKey && article && (key === 'ArrowUp' || key === 'ArrowDown')) {
      event.preventDefault();
      act(article, key === 'ArrowUp' ? 'up' : 'down');
      return;
    }
    if (event.metaKey || event.ctrlKey || event.altKey || html.dataset.keys === 'off') { return; }
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.target.isContentEditable) { return; }
    const chord = before === 'g' && places[key];
    before = key;
    if (chord) { location.assign(chord); }
    else if (key === '?') { location.assign('/admin/keys'); }
    else if (key === '/') { event.preventDefault(); location.assign('/admin/search'); }
    else if (key === 'n' && !article) { const fresh = document.querySelector('[data-new]'); if (fresh) { fresh.click(); } }
    else if (key === 'j' || key === 'k') { step(key === 'j' ? 1 : -1); }
    else if (article && key === 'x') { act(article, 'exclude'); }
    else if (article && key === 'p') { const pin = article.querySelector('[data-pin]'); if (pin) { pin.click(); } }
    else if (article && layouts[key]) { act(article, 'layout', { layout: layouts[key] }); }
    else if (key === 'Enter' && event.target === article) { const link = article.querySelector('a'); if (link) { link.click(); } }
  });
  function step(by) {
    const rows = Array.from(document.querySelectorAll('[data-article], main tbody tr a.strong'));
    const at = rows.indexOf(row(document.activeElement) || document.activeElement);
    const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by];
    if (next) { next.focus(); }
  }
})();
