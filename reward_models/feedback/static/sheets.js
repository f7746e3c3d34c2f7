// Questions about one text or several: put them in an order, rate one, mark good and bad spans.
//
// Everything can be done by keyboard, and by hand as well. A question keeps its answer here until
// it is saved; what it is made of comes as JSON and becomes text nodes, never markup.
import { element, plain, show, MOST_MARKED } from "./texts.js";

const GRADES = ["useless", "weak", "fair", "good", "excellent"];
const MOST_UNITS = 4000; // that can be marked one by one; a longer text is marked by several words
const ENDS_SENTENCE = /[.!?]["'”’)\]]*$/;
const ORDINALS = ["1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th"];

// Makes a button with its key.
function button(key, label, act) {
  const made = element("button", "", "");
  made.type = "button";
  made.setAttribute("aria-keyshortcuts", key);
  made.append(element("kbd", "", key === "Backspace" ? "⌫" : key), ` ${label}`);
  made.addEventListener("mousedown", (event) => event.preventDefault()); // what is selected stays
  made.addEventListener("click", act);
  return made;
}

// A text with its heading, as the page's other texts are.
function card(name, heading) {
  const made = element("section", "card", "");
  const title = element("h2", "", heading);
  title.id = `${name}-title`;
  made.setAttribute("aria-labelledby", title.id);
  const text = element("div", "text", "");
  text.id = name;
  text.tabIndex = 0;
  text.dir = "auto";
  text.setAttribute("role", "region");
  text.setAttribute("aria-label", `The ${heading.toLowerCase()}`);
  made.append(title, text);
  return { made, title, text };
}

// All texts in an order: a number gives its text the next place, and takes it away again.
function ranking(item, { save, say }) {
  const order = [];
  const cards = item.texts.map((text, index) => {
    const one = card(`text-${index + 1}`, `Text ${index + 1}`);
    const place = element("output", "place", "");
    show(one.text, text);
    one.made.append(button(String(index + 1), "next place", () => put(index)), place);
    return { ...one, place };
  });
  function refresh(said) {
    for (const [index, each] of cards.entries()) {
      const place = order.indexOf(index);
      each.place.textContent = place < 0 ? "" : ORDINALS[place];
      each.made.classList.toggle("placed", place >= 0);
    }
    say(said);
  }
  function put(index) {
    if (order.includes(index)) {
      order.splice(order.indexOf(index), 1);
      refresh(`Text ${index + 1} has no place.`);
      return;
    }
    order.push(index);
    if (order.length === cards.length - 1) order.push(cards.findIndex((_, each) => !order.includes(each)));
    const all = order.length === cards.length ? " All have a place: Enter saves." : "";
    refresh(`Text ${index + 1} is ${ORDINALS[order.indexOf(index)]}.${all}`);
  }
  function takeBack() {
    const last = order.pop();
    refresh(last === undefined ? "No text has a place." : `Text ${last + 1} has no place.`);
  }
  function finish() {
    if (order.length === cards.length) save([...order], "Order");
    else say("Give every text a place first, the best the first.");
  }
  return {
    nodes: cards.map((each) => each.made),
    buttons: [button("Backspace", "Take back", takeBack), button("Enter", "Save the order", finish)],
    press({ key }) {
      if (key === "Enter") finish();
      else if (key === "Backspace") takeBack();
      else if (Number(key) >= 1 && Number(key) <= cards.length) put(Number(key) - 1);
      else return false;
      return true;
    },
  };
}

// One text: a number says how good it is, and saves.
function rating(item, { save }) {
  const one = card("text-1", "Text");
  show(one.text, item.texts[0]);
  const give = (grade) => save(grade, `${grade}, ${GRADES[grade - 1]}`);
  return {
    nodes: [one.made],
    buttons: GRADES.map((label, index) => button(String(index + 1), label, () => give(index + 1))),
    press({ key }) {
      if (!(Number(key) >= 1 && Number(key) <= GRADES.length)) return false;
      give(Number(key));
      return true;
    },
  };
}

const characters = (text) => Array.from(text).length; // code points, as the store counts them

// The words of a text, each with the space before it and where it stands; long texts in lumps.
function unitsOf(text) {
  // What is behind the last word is cut off first: looked for, it would be gone through from each of
  // its characters anew.
  const words = text.trimEnd().match(/\s*\S+/g) ?? [];
  const size = Math.ceil(words.length / MOST_UNITS);
  const units = [];
  let at = 0;
  for (let first = 0; first < words.length; first += size) {
    const whole = words.slice(first, first + size).join("");
    const word = whole.trimStart();
    const space = whole.slice(0, whole.length - word.length);
    const start = at + characters(space);
    at = start + characters(word);
    units.push({ space, word, start, end: at, mark: "" });
  }
  return { units, rest: text.slice(words.join("").length) };
}

// One text whose words are called good or bad.
function marking(item, { save, say }) {
  const one = card("text-1", "Text to mark");
  const { units, rest } = unitsOf(item.texts[0]);
  const budget = { marks: MOST_MARKED };
  let [anchor, cursor] = [0, 0];
  for (const [index, unit] of units.entries()) {
    unit.node = element("span", "unit", "");
    unit.node.dataset.unit = index;
    unit.node.append(...plain(unit.word, budget));
    one.text.append(unit.space, unit.node);
  }
  one.text.append(rest);
  one.text.classList.add("marking");
  const chosen = () => [Math.min(anchor, cursor), Math.max(anchor, cursor)];

  function refresh(scroll = true) {
    const [first, last] = chosen();
    for (const [index, unit] of units.entries()) {
      const classes = ["unit", unit.mark, index >= first && index <= last ? "chosen" : ""];
      const name = classes.filter(Boolean).join(" ");
      if (unit.node.className !== name) unit.node.className = name;
    }
    if (scroll && units.length) units[cursor].node.scrollIntoView({ block: "nearest" });
  }
  function move(to, extend) {
    cursor = Math.max(0, Math.min(units.length - 1, to));
    if (!extend) anchor = cursor;
    refresh();
    const [first, last] = chosen();
    const words = units.slice(first, last + 1).map((unit) => unit.word).join(" ").slice(0, 200);
    const said = first === last ? `Word ${first + 1}` : `Words ${first + 1} to ${last + 1}`;
    say(`${said} of ${units.length}: “${words}”${units[cursor].mark ? `, ${units[cursor].mark}` : ""}`);
  }
  const ends = (index) => (
    index >= units.length - 1 || ENDS_SENTENCE.test(units[index].word) || units[index + 1].space.includes("\n")
  );
  function sentence(direction, extend) {
    let to = cursor;
    if (direction > 0) {
      if (extend && ends(to)) to += 1;
      while (!ends(to)) to += 1;
      if (!extend) to += 1;
    } else {
      to -= 1;
      while (to > 0 && !ends(to - 1)) to -= 1;
    }
    move(to, extend);
  }
  function unitAt(node) {
    let at = node.nodeType === Node.TEXT_NODE ? node.parentNode : node;
    at = at.closest("[data-unit]") ?? node.nextElementSibling ?? node.previousElementSibling;
    return at?.dataset?.unit === undefined ? -1 : Number(at.dataset.unit);
  }
  // What a mouse or a finger selected becomes what is chosen.
  function adopt() {
    const selected = window.getSelection();
    if (selected.isCollapsed || !one.text.contains(selected.anchorNode) || !one.text.contains(selected.focusNode)) {
      return false;
    }
    const [from, to] = [unitAt(selected.anchorNode), unitAt(selected.focusNode)];
    selected.removeAllRanges();
    if (from < 0 || to < 0) return false;
    anchor = from;
    move(to, true);
    return true;
  }
  function mark(kind) {
    adopt();
    const [first, last] = chosen();
    for (const unit of units.slice(first, last + 1)) unit.mark = kind;
    anchor = cursor = Math.min(units.length - 1, last + 1);
    refresh();
    say(`${last - first + 1} ${last === first ? "word" : "words"}: ${kind || "no mark"}.`);
  }
  function finish() {
    const spans = [];
    let before = "";
    for (const unit of units) {
      if (unit.mark && unit.mark === before) spans[spans.length - 1][1] = unit.end;
      else if (unit.mark) spans.push([unit.start, unit.end, unit.mark]);
      before = unit.mark;
    }
    save(spans, spans.length ? `${spans.length} marked` : "Nothing marked");
  }
  one.text.addEventListener("pointerup", (event) => {
    if (adopt()) return;
    const unit = event.target.closest("[data-unit]");
    if (unit !== null) move(Number(unit.dataset.unit), event.shiftKey);
  });
  refresh(false);
  const marks = { g: "good", b: "bad", x: "" };
  return {
    nodes: [one.made],
    buttons: [
      button("g", "Good", () => mark("good")),
      button("b", "Bad", () => mark("bad")),
      button("x", "No mark", () => mark("")),
      button("Enter", "Save the marks", finish),
    ],
    press({ key, shiftKey }) {
      if (key === "Enter") finish();
      else if (!units.length) return false;
      else if (key in marks) mark(marks[key]);
      else if (key === "ArrowRight") move(cursor + 1, shiftKey);
      else if (key === "ArrowLeft") move(cursor - 1, shiftKey);
      else if (key === "ArrowDown" || key === "ArrowUp") sentence(key === "ArrowDown" ? 1 : -1, shiftKey);
      else if (key === "Home" || key === "End") move(key === "End" ? units.length - 1 : 0, shiftKey);
      else return false;
      return true;
    },
  };
}

const QUESTIONS = { rank: ranking, rate: rating, spans: marking };

// Shows a sheet; gives what its keys do. `save` takes the answer and what is said of it.
export function showSheet(item, texts, buttons, tools) {
  const made = QUESTIONS[item.question](item, tools);
  texts.replaceChildren(...made.nodes);
  buttons.replaceChildren(...made.buttons);
  buttons.dataset.question = item.question;
  return made.press;
}
