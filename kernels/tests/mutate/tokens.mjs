// A C++ or CUDA source as tokens with their places, and which bracket each stands in: as much of the language as
// conditions.mjs needs to see where an expression or a statement ends. No preprocessor: a directive is one token.
const TOKEN = new RegExp(
  [
    /(?<comment>\/\/[^\n]*|\/\*[\s\S]*?\*\/)/,
    /(?<directive>^[ \t]*#(?:[^\n\\]|\\[\s\S])*)/,
    /(?<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)+')/,
    /(?<word>[A-Za-z_]\w*|\.?\d(?:[eEpP][+-]|[\w.'])*)/,
    /(?<sign><<=|>>=|\.\.\.|->|::|\+\+|--|<<|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[^\s\w])/,
  ]
    .map((part) => part.source)
    .join('|'),
  'gm',
);

/** Tokens {text, begin, end, kind} without comments; kind is directive, text, word or sign. */
export function readTokens(source) {
  const tokens = [];
  for (const found of source.matchAll(TOKEN)) {
    const kind = ['directive', 'text', 'word', 'sign'].find((name) => found.groups[name] !== undefined);
    if (kind !== undefined)
      tokens.push({ text: found[0], begin: found.index, end: found.index + found[0].length, kind });
  }
  return tokens;
}

const CLOSERS = new Map([
  ['(', ')'],
  ['[', ']'],
  ['{', '}'],
]);
const isIn = (text, list) => text !== undefined && list.includes(text);
const isWord = (token) => token?.kind === 'word';

/** The `>` of a template's arguments that begin at `<`, or −1 where it is a comparison. */
function endOfTemplate(tokens, open) {
  if (!isWord(tokens[open - 1]) || /^\d/.test(tokens[open - 1].text)) return -1;
  let depth = 0;
  for (let i = open + 1; i < tokens.length; i++) {
    const { text, kind } = tokens[i];
    if (text === '<') depth++;
    else if (text === '>') {
      if (depth-- > 0) continue;
      const next = tokens[i + 1];
      return isWord(next) || isIn(next?.text, ['(', ')', '{', '}', '>', '::', ',', '&', '*', ';', '...']) ? i : -1;
    } else if (kind !== 'word' && !isIn(text, [',', '::', '*', '&', '+', '-', '/', '(', ')', '...', '='])) return -1;
  }
  return -1;
}

/** For each token its partner, where it is a bracket, and the bracket that it stands in (−1: none). */
export function pairBrackets(tokens) {
  const pair = new Array(tokens.length).fill(-1);
  const outer = new Array(tokens.length).fill(-1);
  const open = [];
  for (let i = 0; i < tokens.length; i++) {
    const { text, kind } = tokens[i];
    const last = open.at(-1);
    if (last !== undefined && (kind === 'sign' || kind === 'word') && text === last.closer && isEnd(last, i)) {
      open.pop();
      pair[i] = last.index;
      pair[last.index] = i;
      outer[i] = open.at(-1)?.index ?? -1;
      continue;
    }
    outer[i] = last?.index ?? -1;
    if (kind !== 'sign') continue;
    if (CLOSERS.has(text)) open.push({ index: i, closer: CLOSERS.get(text) });
    else if (text === '<') {
      const end = endOfTemplate(tokens, i);
      if (end >= 0) open.push({ index: i, closer: '>', end });
    }
  }
  if (open.length > 0) throw new Error(`Expected every bracket to be closed, found "${tokens[open[0].index].text}"`);
  return { pair, outer };
}
const isEnd = (bracket, index) => bracket.end === undefined || bracket.end === index;
