// Elements from data. Text goes in as text nodes and attributes by name: nothing is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...flat(children));
  return element;
}

const flat = (children) =>
  children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false && one !== "");

/** An HTML element. Children are elements or text; null, undefined, false and "" are left out. */
export const h = (name, attributes, ...children) => build(document.createElement(name), attributes, children);

/** An SVG element. */
export const s = (name, attributes, ...children) =>
  build(document.createElementNS(SVG, name), attributes, children);

/** Make the content of `place` look like these nodes, keeping the nodes that are there: focus and selection stay. */
export function show(place, ...children) {
  const wanted = h(place.tagName, null, ...children);
  matchChildren(place, wanted);
}

function matchChildren(place, wanted) {
  const nodes = [...wanted.childNodes];
  nodes.forEach((node, index) => {
    const present = place.childNodes[index];
    if (!present) place.append(node);
    else if (!alike(present, node)) present.replaceWith(node);
    else match(present, node);
  });
  while (place.childNodes.length > nodes.length) place.lastChild.remove();
}

const alike = (one, other) =>
  one.nodeType === other.nodeType && one.nodeName === other.nodeName && one.id === other.id;

function match(present, wanted) {
  if (present.nodeType === Node.TEXT_NODE) {
    if (present.data !== wanted.data) present.data = wanted.data;
    return;
  }
  for (const { name } of [...present.attributes]) {
    // Whether a <details> is open is the reader's business.
    if (name !== "open" && !wanted.hasAttribute(name)) present.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (present.getAttribute(name) !== value) present.setAttribute(name, value);
  }
  matchChildren(present, wanted);
}
