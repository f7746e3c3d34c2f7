// Texts as nodes: what is hidden in them is marked, code is set apart, and edits show what changed.
//
// Every character of a text stays in the page, in its order, and none of it becomes markup.
// Characters that are not seen, or that turn the order of others round.
const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/;
export const MOST_MARKED = 2000; // in a text; what comes behind is shown without marks
const MOST_COMPARED = 4_000_000; // words of an edit times words of its draft

export function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

// A line of text as nodes: what is hidden in it gets a mark, and stays what it is.
export function plain(text, budget) {
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

// Makes nodes of parts in turn, and of all that is left one text once the marks are spent: a page of
// many nodes is slow, and one of too many cannot be made.
function nodesOf(parts, budget, make, textOf = (part) => part) {
  const nodes = [];
  for (const [index, part] of parts.entries()) {
    if (budget.marks <= 0) {
      nodes.push(document.createTextNode(parts.slice(index).map(textOf).join("")));
      break;
    }
    nodes.push(...make(part, index));
  }
  return nodes;
}

// Prose with code and emphasis set apart. Every character stays, its marks included.
function prose(text, budget) {
  const parts = text.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*|^#{1,6} [^\n]+)/m);
  return nodesOf(parts, budget, (part, index) => (
    index % 2 === 0 ? plain(part, budget) : [marked(part.startsWith("`") ? "code" : "strong", "", part, budget)]
  ));
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

export function show(target, text) {
  const budget = { marks: MOST_MARKED };
  target.replaceChildren(...nodesOf(blocks(text), budget, (part, index) => (
    index % 2 === 0 ? prose(part, budget) : [marked("code", "block", part, budget)]
  )));
  target.scrollTop = 0;
}

// Marks in an edit what the draft has not, and says what of the draft is gone; the text stays.
export function showEdit(target, text, draft) {
  const [ours, theirs] = [text, draft].map((each) => each.match(/\s*\S+|\s+$/g) ?? []);
  if (ours.length * theirs.length > MOST_COMPARED) {
    show(target, text);
    return;
  }
  const budget = { marks: MOST_MARKED };
  target.replaceChildren(...nodesOf(
    changesOf(ours, theirs),
    budget,
    ({ kind, words }) => (kind === "kept" ? plain(words, budget) : changed(kind, words, budget)),
    ({ kind, words }) => (kind === "gone" ? "" : words),
  ));
  target.scrollTop = 0;
}

// Words that were added, the space before them outside; or a mark that names what is gone.
function changed(kind, words, budget) {
  budget.marks -= 1;
  if (kind === "gone") {
    const mark = element("span", "gone", "");
    mark.title = "left out";
    mark.dataset.words = words.trim();
    return [mark];
  }
  const added = element("ins", "", "");
  added.append(...plain(words.trimStart(), budget));
  return [document.createTextNode(words.slice(0, words.length - words.trimStart().length)), added];
}

// What an edit kept and added, and what of its draft is gone, in turn. Neighbours alike are one, so
// that a page has few parts of a long text.
function changesOf(ours, theirs) {
  const common = commonPlaces(ours, theirs);
  const found = [];
  let seen = 0;
  const add = (kind, words) => {
    if (words === "" || (kind === "gone" && words.trim() === "")) return;
    if (found.at(-1)?.kind === kind) found.at(-1).words += words;
    else found.push({ kind, words });
  };
  for (const [index, word] of ours.entries()) {
    if (common.has(index)) {
      add("gone", theirs.slice(seen, common.get(index)).join(""));
      seen = common.get(index) + 1;
    }
    add(common.has(index) ? "kept" : "added", word);
  }
  add("gone", theirs.slice(seen).join(""));
  return found;
}

// The longest common subsequence of two lists of words: places in the first, by those in the second.
function commonPlaces(...texts) {
  const numbers = new Map(); // of each word one, which is compared at once, however long the word
  const numberOf = (word) => numbers.get(word) ?? numbers.set(word, numbers.size).size - 1;
  const [ours, theirs] = texts.map((words) => words.map((word) => numberOf(word.trim())));
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
