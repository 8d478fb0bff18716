"use strict";
// One script in the head: the theme is right before anything is painted, the rest waits for the document.
const root = document.documentElement;
root.classList.add("live");

function recall(key) {
  try { return localStorage.getItem(`i2i-${key}`); } catch { return null; }
}

function keep(key, value) {
  try { localStorage.setItem(`i2i-${key}`, value); } catch { /* a browser that keeps nothing */ }
}

const THEMES = ["auto", "light", "dark"];
root.dataset.theme = THEMES.includes(recall("theme")) ? recall("theme") : "auto";
root.dataset.pixels = recall("pixels") === "off" ? "off" : "on";

addEventListener("DOMContentLoaded", () => {
  const { columns, metrics, items } = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const models = columns.map((_, index) => index).filter((index) => columns[index].kind === "model");

  // shots[item][column]: the button with the image, where there is one
  const shots = items.map(() => []);
  for (const shot of document.querySelectorAll(".shot")) shots[shot.dataset.item][shot.dataset.column] = shot;

  function figure(item, column, metric) {
    const value = items[item].figures[column][metric];
    return value === null ? NaN : Number(value);
  }

  function shown(value, metric) {
    if (Number.isNaN(value)) return "–";
    return Number.isFinite(value) ? value.toFixed(metrics[metric].digits) : "∞";
  }

  // Which of the models is best at an item; none where they tie or there is one only.
  function best(item, metric) {
    const sign = metrics[metric].better === "higher" ? 1 : -1;
    const ranked = models.filter((column) => !Number.isNaN(figure(item, column, metric)))
      .sort((a, b) => sign * (figure(item, b, metric) - figure(item, a, metric)));
    const tie = ranked.length < 2 || figure(item, ranked[0], metric) === figure(item, ranked[1], metric);
    return tie ? -1 : ranked[0];
  }

  // --- theme, pixels, size
  const theme = find("theme");
  const nameTheme = () => { theme.textContent = `Theme: ${root.dataset.theme}`; };
  theme.addEventListener("click", () => {
    root.dataset.theme = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
    keep("theme", root.dataset.theme);
    nameTheme();
  });
  nameTheme();

  function showPixels() {
    for (const button of document.querySelectorAll("button.pixels")) {
      button.setAttribute("aria-pressed", root.dataset.pixels === "on");
    }
  }
  function togglePixels() {
    root.dataset.pixels = root.dataset.pixels === "on" ? "off" : "on";
    keep("pixels", root.dataset.pixels);
    showPixels();
  }
  for (const button of document.querySelectorAll("button.pixels")) button.addEventListener("click", togglePixels);
  showPixels();

  const size = find("size");
  size.value = parseFloat(getComputedStyle(root).getPropertyValue("--thumb"));
  size.addEventListener("input", () => root.style.setProperty("--thumb", `${size.value}px`));
  find("bar").addEventListener("submit", (event) => event.preventDefault());

  // --- order
  const [list, key, whose, order] = ["items", "key", "whose", "order"].map(find);
  let sequence = items.map((_, item) => item);
  let worstFirst = true;

  // What an item is sorted by: the larger, the worse. NaN where nothing was measured.
  function badness(item, metric) {
    if (whose && whose.value === "between") {
      const values = models.map((column) => figure(item, column, metric)).filter((value) => !Number.isNaN(value));
      return values.length > 1 ? Math.max(...values) - Math.min(...values) : NaN;
    }
    const value = figure(item, whose ? Number(whose.value) : models[0], metric);
    return metrics[metric].better === "higher" ? -value : value;
  }

  function sort() {
    const byName = key.value === "";
    const metric = byName ? 0 : Number(key.value);
    const values = items.map((_, item) => (byName ? item : badness(item, metric)));
    const sign = byName === worstFirst ? 1 : -1;
    sequence = items.map((_, item) => item).sort((a, b) => {
      const missing = Number.isNaN(values[a]) - Number.isNaN(values[b]);
      return missing || (values[a] === values[b] ? a - b : sign * (values[a] - values[b]));
    });
    list.append(...sequence.map((item) => list.querySelector(`:scope > [data-item="${item}"]`)));
    for (const caption of list.querySelectorAll(".figure")) {
      const { item, column } = caption.dataset;
      const value = metrics.length ? figure(item, column, metric) : NaN;
      caption.textContent = Number.isNaN(value) ? "" : `${metrics[metric].title} ${shown(value, metric)}`;
      caption.classList.toggle("best", metrics.length > 0 && best(Number(item), metric) === Number(column));
    }
    nameOrder(byName, metric);
  }

  function nameOrder(byName, metric) {
    const between = !byName && whose && whose.value === "between";
    const names = byName ? ["A to Z", "Z to A"] : between ? ["most first", "least first"] : ["worst first", "best first"];
    const name = names[worstFirst ? 0 : 1];
    order.textContent = `⇅ ${name}`;
    if (whose) whose.disabled = byName;
    const model = whose && !byName ? (between ? " between models" : ` of ${columns[whose.value].letter}`) : "";
    const by = byName ? "by name" : `by ${metrics[metric].title}${model}`;
    find("said").textContent = `${items.length} ${items.length === 1 ? "image" : "images"}, ${by}, ${name}`;
  }

  if (list) {
    key.value = metrics.length ? "0" : "";
    for (const control of [key, whose]) {
      if (control) control.addEventListener("change", () => { worstFirst = true; sort(); });
    }
    order.addEventListener("click", () => { worstFirst = !worstFirst; sort(); });
    sort();
  } else {
    find("said").textContent = `${items.length} ${items.length === 1 ? "seed" : "seeds"}, the same in every grid`;
  }

  // The same sample in the other grids
  for (const row of list ? [] : shots) {
    const mark = (on) => row.forEach((shot) => shot.classList.toggle("same", on));
    for (const shot of row.filter(Boolean)) {
      for (const event of ["pointerenter", "focus"]) shot.addEventListener(event, () => mark(true));
      for (const event of ["pointerleave", "blur"]) shot.addEventListener(event, () => mark(false));
    }
  }

  // --- the large view
  const viewer = find("viewer");
  const [frame, left, right, edge, wipe, against] = ["frame", "left", "right", "edge", "wipe", "against"].map(find);
  const view = { item: 0, column: 0, against: -1 };
  let usual = -1; // what was last slid against

  const label = (column) => (columns[column].letter ? `${columns[column].letter} · ` : "") + columns[column].name;
  const there = (item) => columns.map((_, column) => column).filter((column) => shots[item][column]);

  function badgeOf(column) {
    const badge = document.createElement("span");
    badge.className = columns[column].badge;
    badge.textContent = columns[column].letter;
    return badge;
  }

  // What a column is best seen against: the other model, else the truth, else the input.
  function partner(column) {
    const others = there(view.item).filter((other) => other !== column);
    if (others.includes(usual)) return usual;
    const rank = { model: 0, truth: 1, real: 1, input: 2 };
    return others.sort((a, b) => rank[columns[a].kind] - rank[columns[b].kind])[0] ?? -1;
  }

  function open(item, column, sliding) {
    Object.assign(view, { item, column, against: -1 });
    if (sliding) view.against = partner(column);
    if (sliding) wipe.value = 50;
    viewer.showModal();
    render();
    (view.against < 0 ? frame : wipe).focus();
  }

  function render() {
    const columnsHere = there(view.item);
    if (!columnsHere.includes(view.column)) view.column = columnsHere[0];
    if (view.against === view.column || (view.against >= 0 && !columnsHere.includes(view.against))) view.against = partner(view.column);
    const sliding = view.against >= 0;
    const { name } = items[view.item];
    find("viewer-name").textContent = name;
    find("viewer-name").title = name;
    find("viewer-place").textContent = `${sequence.indexOf(view.item) + 1} of ${items.length}`;
    for (const [image, column, tag] of [[left, view.column, "left-tag"], [right, sliding ? view.against : view.column, "right-tag"]]) {
      const source = shots[view.item][column].querySelector("img");
      image.src = source.src;
      image.alt = source.alt;
      image.classList.toggle("clear", source.classList.contains("clear"));
      find(tag).textContent = label(column);
    }
    right.hidden = !sliding;
    frame.classList.toggle("sliding", sliding);
    find("wipe-row").classList.toggle("off", !sliding);
    renderChoices(columnsHere);
    renderFigures();
    fit();
    slide();
  }

  function renderChoices(columnsHere) {
    find("tabs").replaceChildren(...columnsHere.map((column) => {
      const tab = document.createElement("button");
      tab.type = "button";
      tab.dataset.column = column;
      tab.setAttribute("aria-pressed", column === view.column);
      const name = document.createElement("span");
      name.textContent = columns[column].name;
      tab.append(...(columns[column].letter ? [badgeOf(column)] : []), name);
      return tab;
    }));
    const choices = [-1, ...columnsHere.filter((column) => column !== view.column)];
    against.replaceChildren(...choices.map((column) => new Option(column < 0 ? "nothing" : label(column), column)));
    against.value = view.against;
  }

  function renderFigures() {
    const rows = columns.map((_, column) => column)
      .filter((column) => metrics.some((_, metric) => !Number.isNaN(figure(view.item, column, metric))));
    const table = find("viewer-figures");
    table.replaceChildren();
    if (!rows.length) return;
    const cell = (row, text, heading, ...classes) => {
      const made = document.createElement(heading ? "th" : "td");
      made.textContent = text;
      if (heading) made.scope = heading;
      made.className = classes.join(" ");
      row.append(made);
    };
    const head = table.createTHead().insertRow();
    cell(head, "", "col");
    metrics.forEach((metric) => cell(head, metric.title, "col", "number"));
    const body = table.createTBody();
    for (const column of rows) {
      const row = body.insertRow();
      cell(row, label(column), "row");
      metrics.forEach((_, metric) => cell(row, shown(figure(view.item, column, metric), metric), "", "number",
        best(view.item, metric) === column ? "best" : ""));
    }
  }

  // As large as the stage allows; by whole multiples where pixels are enlarged, so that all are of one size.
  function fit() {
    const source = shots[view.item][view.column].querySelector("img");
    const [width, height] = [Number(source.getAttribute("width")), Number(source.getAttribute("height"))];
    const stage = find("stage");
    const narrow = getComputedStyle(stage).gridTemplateRows.split(" ").length > 1;
    const sides = [...stage.querySelectorAll(":scope > button")];
    const taken = narrow ? 0 : sides.reduce((sum, button) => sum + button.offsetWidth + 8, 0);
    const below = narrow ? sides[0].offsetHeight + 4 : 0;
    const scale = Math.min((stage.clientWidth - taken) / width, (stage.clientHeight - below) / height);
    const whole = scale >= 2 ? Math.floor(scale) : scale;
    frame.classList.toggle("enlarged", whole > 1);
    frame.style.width = `${Math.floor(width * whole)}px`;
    frame.style.height = `${Math.floor(height * whole)}px`;
    wipe.style.width = frame.style.width;
  }

  function slide() {
    left.style.clipPath = view.against < 0 ? "none" : `inset(0 ${100 - wipe.value}% 0 0)`;
    edge.style.left = `${wipe.value}%`;
  }

  function step(by) {
    view.item = sequence[(sequence.indexOf(view.item) + by + sequence.length) % sequence.length];
    render();
  }

  function turn(by) {
    const columnsHere = there(view.item);
    view.column = columnsHere[(columnsHere.indexOf(view.column) + by + columnsHere.length) % columnsHere.length];
    render();
  }

  function setAgainst(column) {
    view.against = column;
    if (column >= 0) usual = column;
    render();
  }

  document.querySelector("main").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const item = Number(button.dataset.item);
    if (button.matches(".shot")) open(item, Number(button.dataset.column), false);
    if (button.matches(".slide")) open(item, there(item).find((column) => models.includes(column)) ?? there(item)[0], true);
  });
  find("tabs").addEventListener("click", (event) => {
    const tab = event.target.closest("button");
    if (!tab) return;
    view.column = Number(tab.dataset.column);
    render();
    find("tabs").querySelector('[aria-pressed="true"]').focus();
  });
  find("previous").addEventListener("click", () => step(-1));
  find("next").addEventListener("click", () => step(1));
  find("close").addEventListener("click", () => viewer.close());
  against.addEventListener("change", () => setAgainst(Number(against.value)));
  wipe.addEventListener("input", slide);
  addEventListener("resize", () => { if (viewer.open) fit(); });
  viewer.addEventListener("click", (event) => { if (event.target === viewer && !inside(event)) viewer.close(); });
  viewer.addEventListener("close", () => {
    shots[view.item][view.column].focus();
    shots[view.item][view.column].scrollIntoView({ block: "nearest" });
  });

  function inside(event) {
    const box = viewer.getBoundingClientRect();
    return event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
  }

  // Dragging moves the edge; without one, a swipe goes to the next image.
  let start = null;
  function drag(event) {
    const box = frame.getBoundingClientRect();
    wipe.value = Math.round((100 * (event.clientX - box.left)) / box.width);
    slide();
  }
  frame.addEventListener("pointerdown", (event) => {
    start = event.clientX;
    frame.setPointerCapture(event.pointerId);
    if (view.against >= 0) drag(event);
  });
  frame.addEventListener("pointermove", (event) => { if (start !== null && view.against >= 0) drag(event); });
  frame.addEventListener("pointerup", (event) => {
    const moved = start === null ? 0 : event.clientX - start;
    start = null;
    if (view.against < 0 && Math.abs(moved) > 40) step(moved < 0 ? 1 : -1);
  });
  frame.addEventListener("pointercancel", () => { start = null; });

  viewer.addEventListener("keydown", (event) => {
    const own = event.target.matches("input, select") && event.key.startsWith("Arrow"); // the control's own keys
    if (own || event.ctrlKey || event.altKey || event.metaKey) return;
    const act = {
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => turn(-1), ArrowDown: () => turn(1),
      c: () => setAgainst(view.against < 0 ? partner(view.column) : -1), s: togglePixels,
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
});
