// Lists of texts and numbers as Python and numpy print them, which is how pandas writes a list into a cell of a CSV file.

const ELEMENT = /\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(-?\d+(?:\.\d*)?(?:e[+-]?\d+)?)|(,))/sy;
const ESCAPE = /\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))/gis;
const LETTERS: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', '\n': '' };

/** Elements of `['a', 'b']` (a list) or `['a' 'b']` (an array); numbers as they are written. Null where the text is neither, or was
 * shortened: numpy writes dots in place of the middle of more than a thousand elements. */
export function readPythonList(text: string): string[] | null {
  const inner = /^\s*\[(.*)\]\s*$/s.exec(text)?.[1];
  if (inner === undefined) return null;
  const elements: string[] = [];
  ELEMENT.lastIndex = 0;
  let end = 0;
  for (let match = ELEMENT.exec(inner); match !== null; match = ELEMENT.exec(inner)) {
    const [, single, double, number] = match;
    const quoted = single ?? double;
    if (quoted !== undefined) elements.push(readEscapes(quoted));
    else if (number !== undefined) elements.push(number);
    end = ELEMENT.lastIndex;
  }
  return inner.slice(end).trim() === '' ? elements : null;
}

function readEscapes(text: string): string {
  return text.replace(ESCAPE, (_, two?: string, four?: string, eight?: string, letter?: string) => {
    const code = two ?? four ?? eight;
    if (code === undefined) return LETTERS[letter as string] ?? (letter as string);
    const point = Number.parseInt(code, 16);
    return point <= 0x10ffff ? String.fromCodePoint(point) : '\ufffd';
  });
}
