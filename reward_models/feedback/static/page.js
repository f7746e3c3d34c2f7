// The page: one key answers, saves, and shows the next pair; sheets.js has the other questions.
//
// Texts come as JSON and become text nodes, never markup. An answer has a name of its own, so that
// it can be sent again until the server says that it is stored.

import { show, showEdit } from "./texts.js";
import { showSheet } from "./sheets.js";

const find = (id) => document.getElementById(id);
const shown = { csrf: "", item: null, saving: false, press: null };
const KEYS = {
  ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", t: "tie", ArrowUp: "both_bad", b: "both_bad",
};
const SAID = {
  left: "Left", right: "Right", tie: "Equally good", both_bad: "Both bad", skip: "Skipped",
};
const RETRY_MS = [500, 1000, 2000, 4000, 8000];

class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

function randomName() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, "0")).join("");
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Asks the server. What cannot be reached, or is busy, is asked again with the same body.
async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": shown.csrf },
    body: JSON.stringify(body),
  };
  for (let attempt = 0; ; attempt += 1) {
    let answer = null;
    try {
      answer = await fetch(path, options);
    } catch {
      // The network, or a server that is being started again.
    }
    if (answer !== null && answer.status < 500) {
      const said = await answer.json();
      if (!answer.ok) throw new Refused(answer.status, said.error);
      return said;
    }
    say("Not saved yet: the server cannot be reached. Trying again ...", true);
    await pause(RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)]);
  }
}

function say(text, isError = false) {
  const status = find("status");
  status.textContent = text;
  status.classList.toggle("error", isError);
}

function display(turn) {
  shown.item = turn.item;
  const { answered, remaining, can_undo: canUndo } = turn.progress;
  find("progress").max = Math.max(1, answered + remaining);
  find("progress").value = answered;
  find("progress-text").textContent = `${answered} answered, ${remaining} to go`;
  find("undo").disabled = !canUndo;
  find("work").hidden = turn.item === null;
  find("answers").hidden = turn.item === null && !canUndo;
  find("answers").classList.toggle("idle", turn.item === null);
  find("done").hidden = turn.item !== null;
  if (turn.item === null) return;
  displayItem(turn.item);
  find("note").value = "";
  for (const choice of document.querySelectorAll("[name=strength]")) choice.checked = false;
  window.scrollTo(0, 0);
}

function displayItem(item) {
  const { prompt, question } = item;
  const isPair = question === "compare" || question === "edits";
  document.body.dataset.question = isPair ? "pair" : question;
  find("prompt-title").textContent = question === "edits" ? "Draft, before the edits" : "Prompt";
  show(find("prompt"), prompt);
  find("pair").hidden = find("pair-buttons").hidden = find("strength").hidden = !isPair;
  find("sheet").hidden = find("sheet-buttons").hidden = isPair;
  shown.press = null;
  if (!isPair) {
    shown.press = showSheet(item, find("sheet"), find("sheet-buttons"), { save, say });
    return;
  }
  for (const side of ["left", "right"]) {
    if (question === "edits") showEdit(find(side), item[side], prompt);
    else show(find(side), item[side]);
  }
}

// Does one thing at a time: a second key before the first answer is stored changes nothing.
async function doing(work) {
  if (shown.saving) return;
  shown.saving = true;
  say("");
  document.body.classList.add("saving");
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    say(error.message, true);
    if (error.code === 403) await begin();
    else if (error.code === 409) display(await ask("/api/next"));
  } finally {
    shown.saving = false;
    document.body.classList.remove("saving");
  }
}

// Sends what is said of the item, with the note, under a name of its own.
function send(answer, said, reason = "") {
  if (shown.item === null) return;
  const body = {
    lease: shown.item.lease,
    key: randomName(),
    note: [reason, find("note").value.trim()].filter(Boolean).join("; "),
    ...answer,
  };
  doing(async () => {
    display(await ask("/api/vote", body));
    say(`${said}: saved.`);
  });
}

function vote(answer) {
  const strength = document.querySelector("[name=strength]:checked");
  send({ answer, strength: strength === null ? null : Number(strength.value) }, SAID[answer]);
}

// What is said of a sheet.
function save(said, words) {
  if (!shown.saving) send({ said }, words);
}

function skip(reason) {
  send(shown.press === null ? { answer: "skip" } : { said: null }, SAID.skip, reason);
}

function undo() {
  const key = randomName();
  doing(async () => {
    display(await ask("/api/undo", { key }));
    say("Your last answer is taken back: answer again.");
  });
}

// Shows the pairs to one who has a session, and the door to one who has none.
async function begin() {
  try {
    const session = await ask("/api/session");
    shown.csrf = session.csrf;
    find("overview").hidden = !session.owner;
    find("enter").hidden = true;
    display(await ask("/api/next"));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    for (const part of ["work", "answers", "done"]) find(part).hidden = true;
    find("enter").hidden = false;
    find(find("token").value ? "annotator" : "token").focus();
  }
}

async function enter(token, annotator) {
  await ask("/api/session", { token, annotator });
  say("");
  await begin();
}

function press(event) {
  const target = event.target;
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat || shown.saving) return;
  const dialog = document.querySelector("dialog[open]");
  if (dialog !== null) {
    const chosen = dialog.querySelectorAll("[data-reason]")[Number(event.key) - 1];
    if (chosen) chosen.click();
    return;
  }
  if (target.matches("textarea, input:not([type=radio])")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  // Whoever scrolls a text with the keyboard has it in focus.
  const scrolls = target.matches(".text") && target.scrollHeight > target.clientHeight;
  if (scrolls && shown.press === null && ["ArrowUp", "ArrowDown"].includes(event.key)) return;
  if (event.key === "Enter" && target.matches("button, a")) return;
  if (act(event)) event.preventDefault();
}

// Does what a key stands for; says whether it stands for anything.
function act(event) {
  const { key } = event;
  if (key === "?") find("help").showModal();
  else if (key === "r") find("rubric").showModal();
  else if (key === "u" && !find("undo").disabled) undo();
  else if (shown.item === null) return false;
  else if (key === "s") find("reasons").showModal();
  else if (key === "n") find("note").focus();
  else if (shown.press !== null) return shown.press(event);
  else if (key in KEYS) vote(KEYS[key]);
  else if (["1", "2", "3", "4"].includes(key)) document.querySelector(`[name=strength][value="${key}"]`).checked = true;
  else if (key === "j" || key === "k") scroll(key === "j" ? 1 : -1);
  else return false;
  return true;
}

function scroll(direction) {
  for (const side of ["left", "right"]) find(side).scrollBy({ top: direction * 0.8 * find(side).clientHeight });
  if (find("left").scrollHeight <= find("left").clientHeight) window.scrollBy({ top: direction * 200 });
}

function listen() {
  document.addEventListener("keydown", press);
  for (const button of document.querySelectorAll("[data-answer]")) {
    button.addEventListener("click", () => vote(button.dataset.answer));
  }
  for (const button of document.querySelectorAll("[data-reason]")) {
    button.addEventListener("click", () => {
      find("reasons").close();
      skip(button.dataset.reason);
    });
  }
  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  find("skip").addEventListener("click", () => find("reasons").showModal());
  find("undo").addEventListener("click", undo);
  find("help-button").addEventListener("click", () => find("help").showModal());
  find("rubric-button").addEventListener("click", () => find("rubric").showModal());
  find("again").addEventListener("click", () => doing(async () => display(await ask("/api/next"))));
  find("enter").addEventListener("submit", (event) => {
    event.preventDefault();
    enter(find("token").value, find("annotator").value.trim()).catch((error) => say(error.message, true));
  });
  window.addEventListener("beforeunload", (event) => {
    if (shown.saving) event.preventDefault();
  });
}

// The token stands behind the #, which no browser sends, and leaves the address at once.
async function start() {
  listen();
  const given = new URLSearchParams(window.location.hash.slice(1));
  if (given.has("token")) {
    window.history.replaceState(null, "", "/");
    find("token").value = given.get("token");
    find("annotator").value = given.get("annotator") || "";
    try {
      await enter(given.get("token"), given.get("annotator") || "");
      return;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (given.get("annotator")) say(error.message, true);
      find("enter").hidden = false;
      find("annotator").focus();
      return;
    }
  }
  await begin();
}

start();
