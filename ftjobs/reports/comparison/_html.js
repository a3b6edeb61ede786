// Filters, order, keys and blind votes.  The page reads without; what needs this is hidden till now.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const body = document.body;
  const cards = $("cards");
  const rows = [...cards.children]; // the biggest regressions first
  const id = document.querySelector("header").dataset.comparison;
  const is = (row, name) => row.classList.contains(name);

  // Filters and order

  const choices = ["search", "outcome", "set", "tag", "order"].map($).filter(Boolean);
  const words = new Map();
  const plain = (text) => text.normalize("NFKC").toLowerCase();

  function holds(row, text) {
    if (!words.has(row)) words.set(row, plain(row.textContent));
    return words.get(row).includes(text);
  }

  function matches(row) {
    const chosen = (name) => ($(name) ? $(name).value : "");
    const { outcome, set, tags } = row.dataset;
    return (
      (!chosen("outcome") || outcome === chosen("outcome")) &&
      (!chosen("set") || set === chosen("set")) &&
      (!chosen("tag") || tags.split(" ").includes(chosen("tag"))) &&
      (!$("search").value || holds(row, plain($("search").value)))
    );
  }

  const place = new Map(rows.map((row, index) => [row, index]));
  const number = (row) => Number(row.dataset.row);
  const gain = ({ dataset }) => ["better", "equal", "worse", "ungraded"].indexOf(dataset.outcome);
  const orders = {
    "": (a, b) => place.get(a) - place.get(b),
    row: (a, b) => number(a) - number(b),
    better: (a, b) =>
      gain(a) - gain(b) || a.dataset.rank - b.dataset.rank || b.dataset.size - a.dataset.size,
  };

  function filter() {
    let seen = 0;
    for (const row of rows) {
      row.hidden = !matches(row);
      seen += !row.hidden;
    }
    $("count").textContent = `${seen} of ${rows.length} rows`;
  }

  function sort() {
    cards.append(...[...rows].sort(orders[$("order").value]));
  }

  // A link to a row that is filtered away shows all rows again.
  function reveal() {
    const row = document.getElementById(location.hash.slice(1));
    if (!row || !row.hidden) return;
    for (const each of choices) each.value = "";
    sort();
    filter();
    row.scrollIntoView();
  }

  function showChanges() {
    body.classList.toggle("unchanged", !$("changed").checked);
  }

  // Going from row to row

  let here = null;

  function step(by) {
    const seen = [...cards.children].filter((row) => !row.hidden);
    const last = seen.indexOf(document.activeElement.closest(".row") || here);
    here = seen[Math.max(0, Math.min(seen.length - 1, last + by))];
    if (!here) return;
    here.focus({ preventScroll: true });
    here.scrollIntoView({ block: "start" });
  }

  // Blind votes

  const votes = new Map();
  let ballot = [];
  let turn = 0;
  let seated = [];
  let undo = [];

  const arm = () => $("arm").value;
  const key = (row) => `${row.dataset.row} ${arm()}`;
  const answersOf = (row) => [...row.querySelectorAll(".answer")];
  const baselineOf = (row) => answersOf(row).find((each) => each.dataset.seat === "baseline");
  const armOf = (row) => answersOf(row).find((each) => each.dataset.arm === arm());

  function remember() {
    try {
      localStorage.setItem(`ftjobs-votes-${id}`, JSON.stringify([...votes]));
    } catch {} // no storage, as in some private windows: votes last as long as the page
  }

  function recall() {
    try {
      for (const [name, vote] of JSON.parse(localStorage.getItem(`ftjobs-votes-${id}`)))
        if (vote.comparison === id) votes.set(name, vote);
    } catch {}
  }

  function canVote(row) {
    const [one, other] = [baselineOf(row), armOf(row)];
    return one && other && !is(one, "lost") && !is(other, "lost") && !is(other, "same");
  }

  function stand() {
    for (const each of undo.reverse()) each();
    undo = [];
  }

  // The answers get the seats that `ftjobs vote` gives them, and lose their names.
  function seat(row) {
    const box = row.querySelector(".answers");
    const order = [...box.children];
    undo.push(() => box.append(...order));
    seated = [baselineOf(row), armOf(row)];
    if (row.dataset.first === "arm") seated.reverse();
    box.append(...seated);
    seated.forEach((answer, side) => {
      const head = answer.querySelector(".arm");
      const names = [...head.childNodes];
      head.replaceChildren(`Answer ${"AB"[side]}`);
      answer.classList.add("seated");
      undo.push(() => {
        head.replaceChildren(...names);
        answer.classList.remove("seated");
      });
    });
    row.classList.add("current");
    undo.push(() => row.classList.remove("current"));
  }

  function show() {
    stand();
    const row = ballot[turn];
    const cast = ballot.filter((each) => votes.has(key(each))).length;
    const where = row ? `Pair ${turn + 1} of ${ballot.length}` : "No pair is left";
    const was = row && votes.has(key(row)) ? " You have voted on this one; a new vote counts." : "";
    $("turn").textContent = `${where}; ${cast} voted.${was}`;
    for (const button of document.querySelectorAll("[data-vote]"))
      button.disabled = button.dataset.vote === "z" ? !turn : !row;
    if (row) seat(row);
  }

  function begin() {
    stand();
    ballot = rows.filter(canVote).sort(orders.row);
    turn = ballot.findIndex((row) => !votes.has(key(row)));
    if (turn < 0) turn = ballot.length;
    body.classList.add("voting");
    $("vote").hidden = false;
    show();
    $("title-vote").focus();
  }

  function tally() {
    const won = { arm: 0, baseline: 0, tie: 0 };
    for (const vote of votes.values()) if (vote.arm === arm()) won[vote.winner] += 1;
    const base = rows.length ? baselineOf(rows[0]).dataset.arm : "";
    return `Your votes: ${won.arm} for ${arm()}, ${won.baseline} for ${base}, ${won.tie} for neither.`;
  }

  function stop() {
    stand();
    body.classList.remove("voting");
    $("vote").hidden = true;
    if (votes.size) $("tally").textContent = tally();
    $("start").focus();
  }

  // For the next person at this browser.
  function forget() {
    if (votes.size && !confirm("Forget all votes on this page?")) return;
    votes.clear();
    remember();
    begin();
  }

  function choose(what) {
    const row = ballot[turn];
    if (what === "z") turn = Math.max(0, turn - 1);
    else if (!row) return;
    else turn += 1;
    if ("abt".includes(what)) {
      const winner = what === "t" ? "tie" : seated["ab".indexOf(what)].dataset.seat;
      const [baseline, at] = [baselineOf(row).dataset.arm, Math.floor(Date.now() / 1000)];
      const vote = { object: "vote", comparison: id, row: number(row), arm: arm(), baseline };
      votes.set(key(row), { ...vote, winner, voter: "", at });
      remember();
    }
    show();
  }

  // Control characters in names are made visible here; votes name arms as the document does.
  function exported() {
    const voter = $("voter").value.trim() || "anonymous";
    const shown = rows.slice(0, 1).flatMap(answersOf).map((each) => each.dataset.arm);
    const { arms } = JSON.parse($("comparison").textContent);
    const name = (arm) => arms[shown.indexOf(arm)].name;
    const named = (vote) => ({ ...vote, arm: name(vote.arm), baseline: name(vote.baseline), voter });
    return [...votes.values()].map((vote) => JSON.stringify(named(vote)) + "\n").join("");
  }

  function save(name, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  // Keys

  const keys = {
    j: () => step(1),
    k: () => step(-1),
    "/": () => $("search").focus(),
    d: () => {
      $("changed").checked = !$("changed").checked;
      showChanges();
    },
    v: () => $("start") && begin(),
    "?": () => $("help").showModal(),
  };

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    const voting = is(body, "voting");
    if (event.key === "Escape" && voting) stop();
    const writes = event.target.matches("input:not([type=checkbox]), select, textarea");
    if (writes || !$("single").checked) return;
    const ballots = voting && "abtsz".includes(event.key) && event.key.length === 1;
    if (ballots) choose(event.key);
    else if (keys[event.key] && (!voting || event.key === "?")) keys[event.key]();
    else return;
    event.preventDefault();
  }

  // What is there to be used now

  for (const each of document.querySelectorAll(".scripted")) each.hidden = each.id === "vote";
  for (const each of choices) each.addEventListener("input", each.id === "order" ? sort : filter);
  const click = (name, does) => $(name) && $(name).addEventListener("click", does);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("changed").addEventListener("change", showChanges);
  click("keys", keys["?"]);
  click("start", begin);
  click("stop", stop);
  click("forget", forget);
  click("export", () => save(`votes-${id}.jsonl`, exported()));
  click("download", () => save(`comparison-${id}.json`, $("comparison").textContent));
  if ($("arm")) $("arm").addEventListener("change", begin);
  for (const each of document.querySelectorAll("[data-vote]"))
    each.addEventListener("click", () => choose(each.dataset.vote));
  document.addEventListener("keydown", pressed);
  addEventListener("hashchange", reveal);
  // A browser that goes back may fill the fields in again.
  showChanges();
  sort();
  filter();
  recall();
})();
