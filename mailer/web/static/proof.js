// Proof of work: finds the number that a challenge asks for (ALTCHA's protocol), so that robots by the thousand find it dear.
(function () {
  'use strict';
  async function solve(work) {
    const encoder = new TextEncoder();
    const wanted = work.challenge.match(/../g).map(function (two) { return parseInt(two, 16); });
    for (let number = 0; number <= work.maxnumber; number++) {
      const found = new Uint8Array(await crypto.subtle.digest(work.algorithm, encoder.encode(work.salt + number)));
      if (wanted.every(function (byte, place) { return found[place] === byte; })) {
        const said = { algorithm: work.algorithm, challenge: work.challenge, number, salt: work.salt, signature: work.signature };
        return btoa(JSON.stringify(said));
      }
    }
    throw new Error('no solution');
  }
  window.mailerProof = solve;
  // Our own pages: begin when somebody turns to the form, send when it is solved.
  document.querySelectorAll('form[data-stamp]').forEach(function (form) {
    let solved;
    function begin() {
      solved = solved || fetch(form.dataset.stamp).then(function (answer) { return answer.json(); }).then(function (told) {
        return solve(told.work);
      });
      return solved;
    }
    form.addEventListener('focusin', function () { begin().catch(function () {}); }, { once: true });
    form.addEventListener('submit', function (event) {
      event.preventDefault();
      function send(altcha) {
        const field = document.createElement('input');
        field.type = 'hidden';
        field.name = 'altcha';
        field.value = altcha;
        form.append(field);
        form.submit();
      }
      begin().then(send, function () { send(''); });
    });
  });
})();
