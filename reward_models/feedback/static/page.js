// The page of pairs: one key answers, saves, and shows the next pair.
//
// Texts come as JSON and become text nodes, never markup. An answer has a name of its own, so that
// it can be sent again until the server says that it is stored.

const find = (id) => document.getElementById(id);
const shown = { csrf: "", item: null, saving: false };
const KEYS = {
  ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", t: "tie", ArrowUp: "both_bad", b: "both_bad",
};
const SAID = {
  left: "Left", right: "Right", tie: "Equally good", both_bad: "Both bad", skip: "Skipped",
};
const RETRY_MS = [500, 1000, 2000, 4000, 8000];
// Characters that are not seen, or that turn the order of others round.
const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/;
const MOST_MARKED = 2000; // in a text; what comes behind is shown without marks
const MOST_COMPARED = 4_000_000; // words of an edit times words of its draft

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

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

// A line of text as nodes: what is hidden in it gets a mark, and stays what it is.
function plain(text, budget) {
  const nodes = [];
  let rest = text;
  for (let at = rest.search(HIDDEN); at >= 0 && budget.marks > 0; at = rest.search(HIDDEN)) {
    if (at > 0) nodes.push(document.createTextNode(rest.slice(0, at)));
    const mark = element("span", "hidden-character", rest[at]);
    mark.dataset.code = `U+${rest.charCodeAt(at).toString(16).toUpperCase().padStart(4, "0")}`;
    nodes.push(mark);
    rest = rest.slice(at + 1);
    budget.marks -= 1;
  }
  if (rest) nodes.push(document.createTextNode(rest));
  return nodes;
}

// Prose with code and emphasis set apart. Every character stays, its marks included.
function prose(text, budget) {
  const parts = text.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*|^#{1,6} [^\n]+)/m);
  const nodes = [];
  for (const [index, part] of parts.entries()) {
    if (budget.marks <= 0) {
      nodes.push(document.createTextNode(parts.slice(index).join("")));
      break;
    }
    if (index % 2 === 0) nodes.push(...plain(part, budget));
    else nodes.push(marked(part.startsWith("`") ? "code" : "strong", "", part, budget));
  }
  return nodes;
}

function marked(name, className, text, budget) {
  budget.marks -= 1;
  const made = element(name, className, "");
  made.append(...plain(text, budget));
  return made;
}

// Prose and blocks between lines of three backticks, in turn, in one pass over the lines.
function blocks(text) {
  const parts = [""];
  let opened = "";
  for (const line of text.split(/(?<=\n)/)) {
    if (opened === "" && line.startsWith("```")) opened = line;
    else if (opened === "") parts[parts.length - 1] += line;
    else {
      opened += line;
      if (/^```[ \t]*\r?\n?$/.test(line)) {
        parts.push(opened, "");
        opened = "";
      }
    }
  }
  parts[parts.length - 1] += opened;
  return parts;
}

function show(target, text) {
  const budget = { marks: MOST_MARKED };
  target.replaceChildren(...blocks(text).flatMap((part, index) => (
    index % 2 === 0 ? prose(part, budget) : [marked("code", "block", part, budget)]
  )));
  target.scrollTop = 0;
}

// Marks in an edit what the draft has not, and says what of the draft is gone; the text stays.
function showEdit(target, text, draft) {
  const [ours, theirs] = [text, draft].map((each) => each.match(/\s*\S+|\s+$/g) ?? []);
  if (ours.length * theirs.length > MOST_COMPARED) {
    show(target, text);
    return;
  }
  const common = commonPlaces(...[ours, theirs].map((words) => words.map((word) => word.trim())));
  const budget = { marks: MOST_MARKED };
  const nodes = [];
  let gone = 0;
  const flush = (until) => {
    const words = theirs.slice(gone, until).join("").trim();
    if (words) nodes.push(Object.assign(element("span", "gone", ""), { title: "left out" }));
    if (words) nodes[nodes.length - 1].dataset.words = words;
    gone = until + 1;
  };
  ours.forEach((word, index) => {
    if (common.has(index)) flush(common.get(index));
    const space = word.slice(0, word.length - word.trimStart().length);
    const pieces = plain(word.trimStart(), budget);
    nodes.push(document.createTextNode(space));
    if (common.has(index)) nodes.push(...pieces);
    else {
      const added = element("ins", "", "");
      added.append(...pieces);
      nodes.push(added);
    }
  });
  flush(theirs.length);
  target.replaceChildren(...nodes);
  target.scrollTop = 0;
}

// The longest common subsequence of two lists of words: places in the first, by those in the second.
function commonPlaces(ours, theirs) {
  const width = theirs.length + 1;
  const lengths = new Uint32Array((ours.length + 1) * width);
  for (let i = ours.length - 1; i >= 0; i -= 1) {
    for (let j = theirs.length - 1; j >= 0; j -= 1) {
      lengths[i * width + j] = ours[i] === theirs[j]
        ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  const places = new Map();
  for (let i = 0, j = 0; i < ours.length && j < theirs.length;) {
    if (ours[i] === theirs[j]) places.set(i++, j++);
    else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i += 1;
    else j += 1;
  }
  return places;
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
  const { prompt, left, right, question } = turn.item;
  find("prompt-title").textContent = question === "edits" ? "Draft, before the edits" : "Prompt";
  show(find("prompt"), prompt);
  for (const [side, text] of Object.entries({ left, right })) {
    if (question === "edits") showEdit(find(side), text, prompt);
    else show(find(side), text);
  }
  find("note").value = "";
  for (const choice of document.querySelectorAll("[name=strength]")) choice.checked = false;
  window.scrollTo(0, 0);
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

function vote(answer, reason = "") {
  if (shown.item === null) return;
  const strength = document.querySelector("[name=strength]:checked");
  const body = {
    lease: shown.item.lease,
    answer,
    key: randomName(),
    strength: strength === null ? null : Number(strength.value),
    note: [reason, find("note").value.trim()].filter(Boolean).join("; "),
  };
  doing(async () => {
    display(await ask("/api/vote", body));
    say(`${SAID[answer]}: saved.`);
  });
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
  if (scrolls && ["ArrowUp", "ArrowDown"].includes(event.key)) return;
  if (act(event.key)) event.preventDefault();
}

// Does what a key stands for; says whether it stands for anything.
function act(key) {
  if (key === "?") find("help").showModal();
  else if (key === "r") find("rubric").showModal();
  else if (key === "u" && !find("undo").disabled) undo();
  else if (shown.item === null) return false;
  else if (key in KEYS) vote(KEYS[key]);
  else if (key === "s") find("reasons").showModal();
  else if (key === "n") find("note").focus();
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
      vote("skip", button.dataset.reason);
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
