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

export function show(target, text) {
  const budget = { marks: MOST_MARKED };
  target.replaceChildren(...blocks(text).flatMap((part, index) => (
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
