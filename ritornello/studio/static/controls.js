// A form made from a JSON schema: what one may ask of a model is written once, in its own class.

// Where a slider is most useful; the field beside it takes the whole range.
const USUAL = { bars: [4, 128], tempo: [40, 220], temperature: [0.5, 1.5], top_p: [0.5, 1], min_p: [0, 0.5], top_k: [0, 64], count: [1, 4] };
const WORDS = { count: "Takes", top_k: "Top k", top_p: "Top p", min_p: "Min p", prompt_bars: "Bars to keep", max_tokens: "Most tokens" };
const RARE = new Set(["top_k", "top_p", "min_p", "max_tokens", "prompt_bars"]);

const label = (name) => WORDS[name] || name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");

/** The kind of a field without its "or nothing": {type, minimum, ...} and whether it may be left open. */
function kindOf(field, definitions) {
  const follow = (kind) => (kind.$ref ? { ...definitions[kind.$ref.split("/").pop()], ...kind } : kind);
  const kinds = (field.anyOf || field.allOf || [field]).map(follow);
  const kind = kinds.find((one) => one.type !== "null") || {};
  return { ...kind, optional: kinds.some((one) => one.type === "null") };
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (name in made && name !== "list") made[name] = value; else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Fill `place` with the fields of a model; `leave` names those that the page asks for elsewhere.
 *  Returns {values(), set(name, value), name → field, invalid()}. */
export function makeForm(place, model, leave, changed) {
  const schema = model.schema, definitions = schema.$defs || {};
  const fields = {};
  const common = element("div", { className: "fields" }), rare = element("div", { className: "fields" });
  for (const [name, field] of Object.entries(schema.properties)) {
    if (leave.has(name)) continue;
    const made = makeField(name, field, kindOf(field, definitions), (model.choices || {})[name]);
    if (!made) continue;
    made.root.addEventListener("input", changed);
    fields[name] = made;
    (RARE.has(name) ? rare : common).append(made.root);
  }
  place.replaceChildren(common);
  if (rare.children.length) place.append(element("details", {}, element("summary", { textContent: "More" }), rare));
  return {
    fields,
    values() {
      const values = {};
      for (const [name, field] of Object.entries(fields)) {
        const value = field.get();
        if (value !== undefined && value !== null) values[name] = value;
      }
      return values;
    },
    set(name, value) { fields[name]?.set(value); },
    invalid: () => Object.values(fields).find((field) => !field.valid()),
  };
}

function makeField(name, field, kind, choices) {
  const id = `wish-${name}`, note = `${id}-note`;
  const root = element("div", { className: "field" });
  const title = element("label", { htmlFor: id, textContent: label(name) });
  const about = element("p", { id: note, className: "unseen", textContent: field.description || "" });
  root.title = about.textContent;
  const describe = { id, name, "aria-describedby": note };
  if (kind.type === "integer" || kind.type === "number") return numberField(root, title, about, describe, name, field, kind);
  const words = choices || kind.items?.enum;
  if (words && kind.type === "array") return chipsField(root, title, about, describe, words);
  if (choices || kind.enum) {
    const select = element("select", describe);
    if (kind.optional) select.append(new Option("any", ""));
    for (const choice of choices || kind.enum) select.append(new Option(choice, choice));
    select.value = field.default ?? "";
    root.append(title, select, about);
    return { root, get: () => select.value || undefined, set: (value) => { select.value = value ?? ""; }, valid: () => true };
  }
  if (kind.type === "boolean") {
    const box = element("input", { ...describe, type: "checkbox", checked: Boolean(field.default) });
    title.prepend(box);
    root.append(title, about);
    return { root, get: () => box.checked, set: (value) => { box.checked = Boolean(value); }, valid: () => true };
  }
  if (kind.type === "string" || kind.type === "array") {
    const list = kind.type === "array";
    const show = (value) => (list ? (value || []).join(", ") : value ?? "");
    const input = element("input", { ...describe, type: "text", value: show(field.default), placeholder: kind.optional ? "as it likes" : "" });
    const numbers = ["integer", "number"].includes((kind.items || {}).type);
    const read = () => {
      if (!list) return input.value.trim() || undefined;
      const parts = input.value.split(",").map((part) => part.trim()).filter(Boolean);
      return parts.length ? (numbers ? parts.map(Number) : parts) : undefined;
    };
    root.append(title, input, about);
    return { root, get: read, set: (value) => { input.value = show(value); }, valid: () => true };
  }
  return null;
}

function numberField(root, title, about, describe, name, field, kind) {
  const whole = kind.type === "integer";
  const low = kind.minimum ?? kind.exclusiveMinimum, high = kind.maximum ?? (kind.exclusiveMaximum !== undefined && whole ? kind.exclusiveMaximum - 1 : kind.exclusiveMaximum);
  const [from, to] = USUAL[name] || [low, high];
  const step = whole ? 1 : 0.05;
  const number = element("input", { ...describe, type: "number", step: whole ? 1 : "any", min: kind.exclusiveMinimum !== undefined && !whole ? undefined : low, max: high,
    value: field.default ?? "", placeholder: kind.optional ? "any" : "", inputMode: whole ? "numeric" : "decimal" });
  const row = element("div", { className: "pair" });
  if (from !== undefined && to !== undefined && to - from <= 1024) {
    const slider = element("input", { type: "range", min: from, max: to, step, value: field.default ?? (from + to) / 2, tabIndex: -1, ariaHidden: "true" });
    slider.addEventListener("input", () => { number.value = slider.value; });
    number.addEventListener("input", () => { if (number.value !== "") slider.value = number.value; });
    row.append(slider);
  }
  row.append(number);
  root.append(title, row, about);
  return {
    root, number,
    get: () => (number.value === "" ? undefined : Number(number.value)),
    set: (value) => { number.value = value ?? ""; number.dispatchEvent(new Event("input")); },
    valid: () => number.reportValidity() && (kind.optional || number.value !== ""),
  };
}

function chipsField(root, title, about, describe, choices) {
  const group = element("fieldset", { className: "chips", id: describe.id, "aria-describedby": describe["aria-describedby"] });
  const boxes = choices.map((choice) => {
    const box = element("input", { type: "checkbox", value: choice, name: describe.name });
    group.append(element("label", {}, box, element("span", { textContent: choice })));
    return box;
  });
  group.prepend(element("legend", { textContent: title.textContent }));
  root.append(group, about);
  return {
    root,
    get: () => { const chosen = boxes.filter((box) => box.checked).map((box) => box.value); return chosen.length ? chosen : undefined; },
    set: (value) => boxes.forEach((box) => { box.checked = (value || []).includes(box.value); }),
    valid: () => true,
  };
}
