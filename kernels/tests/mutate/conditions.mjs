// All mutants of a source in one text: each behind a condition on its number, duo_mutant(n), which the environment
// variable DUO_MUTANT holds, so that one program is compiled for all of them. The unit put behind the condition is the
// statement that a mutant changes, or, of a declaration or the head of a loop, the smallest whole expression. What is a
// constant to the compiler, a template's argument or a declaration's shape has no such unit: its mutant is left out.
// Lines keep their numbers, so that an error of the compiler names the mutants of its line.
import { pairBrackets, readTokens } from './tokens.mjs';

export const CONDITION_HEADER = `#pragma once
#include <cstdlib>
inline const int duo_mutant_number = [] {
  const char *number = std::getenv("DUO_MUTANT");
  return number == nullptr ? 0 : std::atoi(number);
}();
inline bool duo_mutant(int number) { return number == duo_mutant_number; }
`;

const ASSIGNMENTS = ['=', '+=', '-=', '*=', '/=', '%=', '&=', '|=', '^=', '<<='];
const HEADS = ['if', 'for', 'while', 'switch'];
const EXPRESSION_STARTS = ['return', 'delete', 'throw', 'else', 'goto', 'case', 'new', 'do', 'break', 'continue'];
const CONSTANTS = ['constexpr', 'static_assert', 'static', 'template', 'using', 'alignas'];

class Source {
  constructor(text) {
    this.text = text;
    this.tokens = readTokens(text);
    Object.assign(this, pairBrackets(this.tokens));
  }
  is(index, texts) {
    const token = this.tokens[index];
    return token !== undefined && token.kind !== 'text' && texts.includes(token.text);
  }
  isWord(index) {
    return this.tokens[index]?.kind === 'word';
  }
  isOpen(index) {
    return this.pair[index] > index;
  }
  isClose(index) {
    return this.pair[index] >= 0 && this.pair[index] < index;
  }
  isDirective(index) {
    return this.tokens[index]?.kind === 'directive';
  }

  /** What a bracket holds: expressions, a block of statements, a for's head, or what no condition can stand in. */
  roleOf(open) {
    const before = open - 1;
    if (this.is(open, ['<'])) return 'template';
    if (this.is(open, ['['])) {
      return this.isWord(before) || this.is(before, [')', ']']) ? 'expressions' : 'captures';
    }
    if (this.is(open, ['('])) {
      if (this.is(before, ['for'])) return 'for';
      if (this.is(before, ['if', 'while', 'switch'])) return 'expressions';
      if (this.is(before, ['constexpr', 'sizeof', 'decltype', 'static_assert', 'alignas', 'operator']))
        return 'constant';
      if (this.is(before, [']']) && this.roleOf(this.pair[before]) === 'captures') return 'parameters';
      return this.isWord(before) && this.hasParameters(open) ? 'parameters' : 'expressions';
    }
    if (before < 0 || this.is(before, [';', '{', '}', 'else', 'do', 'const', 'noexcept', 'override']))
      return this.is(before, ['{']) && this.roleOf(before) !== 'block' ? 'expressions' : 'block';
    if (this.isDirective(before) || this.is(before, [':'])) return 'block';
    if (this.is(before, [')', ']'])) return 'block';
    const begin = this.beginOfStatement(open, this.outer[open]);
    for (let i = begin; i < open; i++) {
      if (this.is(i, ['namespace', 'struct', 'class', 'union'])) return 'block';
      if (this.is(i, ['enum'])) return 'constant';
      if (this.is(i, ['->'])) return 'block';
    }
    return 'expressions';
  }
  hasParameters(open) {
    if (!this.is(this.pair[open] + 1, ['{', 'const', 'override', 'noexcept'])) return false;
    for (let i = open + 1; i < this.pair[open]; i++) {
      if (this.isWord(i) && this.isWord(i + 1) && !this.is(i, EXPRESSION_STARTS)) return true;
      if (this.isWord(i) && this.is(i + 1, ['*', '&']) && this.isWord(i + 2) && this.is(i + 3, [',', ')', '=']))
        return true;
    }
    return false;
  }
  isLambda(open) {
    if (this.is(open - 1, [']'])) return this.roleOf(this.pair[open - 1]) === 'captures';
    const head = this.pair[open - 1];
    return this.is(open - 1, [')']) && this.is(head - 1, [']']) && this.roleOf(this.pair[head - 1]) === 'captures';
  }

  /** Where the statement that holds the place before `index`, straight in bracket `block`, begins. */
  beginOfStatement(index, block) {
    let i = index;
    while (i - 1 > block) {
      const before = i - 1;
      if (this.is(before, [';']) || this.isDirective(before)) break;
      if (this.is(before, ['}'])) {
        const open = this.pair[before];
        if (this.roleOf(open) === 'block' && !this.isLambda(open)) break;
        i = open;
      } else {
        i = this.isClose(before) ? this.pair[before] : before;
      }
    }
    return i;
  }
  /** Behind the statement that begins at `index`; −1 where it does not end within its bracket. */
  endOfStatement(index) {
    if (this.isDirective(index)) return this.endOfStatement(index + 1);
    if (this.is(index, HEADS)) {
      const open = this.is(index + 1, ['constexpr']) ? index + 2 : index + 1;
      const end = this.endOfStatement(this.pair[open] + 1);
      return end >= 0 && this.is(index, ['if']) && this.is(end, ['else']) ? this.endOfStatement(end + 1) : end;
    }
    if (this.is(index, ['{'])) return this.pair[index] + 1;
    for (let i = index; i < this.tokens.length; i++) {
      if (this.is(i, [';'])) return i + 1;
      if (this.isDirective(i) || this.isClose(i)) return -1;
      if (this.isOpen(i)) i = this.pair[i];
    }
    return -1;
  }
  isDeclaration(begin) {
    if (this.is(begin, ['const', 'auto', 'struct', 'unsigned', ...CONSTANTS])) return true;
    if (!this.isWord(begin) || this.is(begin, [...EXPRESSION_STARTS, ...HEADS])) return false;
    let i = begin + 1;
    for (;;) {
      if (this.is(i, ['<']) && this.isOpen(i)) i = this.pair[i] + 1;
      else if (this.is(i, ['::']) && this.isWord(i + 1)) i += 2;
      else break;
    }
    if (this.isWord(i)) return true;
    if (!this.is(i, ['*', '&'])) return false;
    while (this.is(i, ['*', '&', 'const', '__restrict__'])) i++;
    return this.isWord(i) && this.is(i + 1, ['=', ',', ';', '[', '{']);
  }
  /** Whether a bracket of a block around `index` belongs to a function that the compiler may run. */
  isInConstant(index) {
    for (let open = this.outer[index]; open >= 0; open = this.outer[open]) {
      if (!this.is(open, ['{']) || this.roleOf(open) !== 'block') continue;
      for (let i = this.beginOfStatement(open, this.outer[open]); i < open; i++) {
        if (this.is(i, ['constexpr']) && !this.is(i - 1, ['if'])) return true;
      }
    }
    return false;
  }
}

/** The tokens [begin, end) of `before` for which `after` has `put` in place. */
function findChange(before, after) {
  let begin = 0;
  while (begin < before.length && begin < after.length && before[begin].text === after[begin].text) begin++;
  let tail = 0;
  while (
    tail < Math.min(before.length, after.length) - begin &&
    before[before.length - 1 - tail].text === after[after.length - 1 - tail].text
  )
    tail++;
  return { begin, end: before.length - tail, put: after.slice(begin, after.length - tail).map((token) => token.text) };
}

/** Whether tokens are whole brackets and none of `parts` stands outside of them. */
function isWhole(texts, parts) {
  const open = [];
  for (const text of texts) {
    if ('([{'.includes(text)) open.push(text);
    else if (')]}'.includes(text)) {
      if (!['()', '[]', '{}'].includes(open.pop() + text)) return false;
    } else if (open.length === 0 && parts.includes(text)) return false;
  }
  return open.length === 0;
}

/** The whole expression around tokens [from, to), straight in bracket `block`, or undefined. */
function expressionAround(source, from, to, block, stops) {
  const last = block < 0 ? source.tokens.length : source.pair[block];
  let begin = from;
  while (begin - 1 > block && !source.is(begin - 1, stops) && !source.isDirective(begin - 1))
    begin = source.isClose(begin - 1) ? source.pair[begin - 1] : begin - 1;
  let end = to;
  while (end < last && !source.is(end, [',', ';'])) {
    if (source.is(end, ASSIGNMENTS) || source.isDirective(end)) return undefined;
    end = source.isOpen(end) ? source.pair[end] + 1 : end + 1;
  }
  return { begin, end, kind: 'expression' };
}

/** What is to be put behind a condition so that tokens [from, to) become `put`, or undefined. */
function findUnit(source, { begin: from, end: to, put }) {
  const textOf = (begin, end) => source.tokens.slice(begin, end).map((token) => token.text);
  const changed = (unit) => [...textOf(unit.begin, from), ...put, ...textOf(to, unit.end)];
  const isFit = (unit) => {
    const stops = [',', ';', ...ASSIGNMENTS];
    const [original, mutated] = [textOf(unit.begin, unit.end), changed(unit)];
    return original.length > 0 && mutated.length > 0 && isWhole(original, stops) && isWhole(mutated, stops);
  };
  if (source.isInConstant(Math.min(from, source.tokens.length - 1))) return undefined;
  let [begin, end] = [from, to];
  let expression;
  for (;;) {
    // The innermost bracket around both ends.
    const place = (index) =>
      source.isOpen(index - 1)
        ? index - 1
        : (source.outer[source.isClose(index - 1) ? source.pair[index - 1] : index - 1] ?? -1);
    let block = place(begin);
    while (block >= 0 && source.pair[block] < end) block = source.outer[block];
    const role = block < 0 ? 'block' : source.roleOf(block);
    if (role === 'parameters') return undefined;
    if (role === 'expressions' || role === 'for') {
      const stops = [',', ';', ...ASSIGNMENTS];
      const unit = expressionAround(source, begin, end, block, role === 'for' ? [...stops, ':'] : stops);
      if (unit && isFit(unit)) expression ??= unit;
    }
    if (role !== 'block') {
      // What is in a template's or a constant's brackets can only change with the statement around them.
      if (role === 'template' || role === 'constant') expression = undefined;
      [begin, end] = [block, source.pair[block] + 1];
      continue;
    }
    let first = source.beginOfStatement(begin, block);
    for (;;) {
      if (source.is(first, ['else']) && first < from) first++;
      else if (source.is(first, ['case', 'default'])) {
        while (!source.is(first, [':'])) first++;
        first++;
      } else if (source.is(first, HEADS)) {
        const open = source.is(first + 1, ['constexpr']) ? first + 2 : first + 1;
        if (source.pair[open] >= begin) break;
        first = source.pair[open] + 1;
      } else break;
    }
    if (source.isDeclaration(first)) {
      if (source.is(first, CONSTANTS)) return undefined;
      if (expression) return expression;
      const unit = expressionAround(source, begin, end, block, [',', ';', ...ASSIGNMENTS]);
      const isValue = unit && unit.begin > 0 && source.is(unit.begin - 1, ASSIGNMENTS);
      return isValue && isFit(unit) ? unit : undefined;
    }
    const isInFunction = block >= 0 && source.is(block - 1, [')', ']', 'const', 'else', 'do', ';', '{', '}', ':']);
    if (!isInFunction) return expression;
    let last = source.endOfStatement(first);
    while (last >= 0 && last < to) last = source.isDeclaration(last) ? -1 : source.endOfStatement(last);
    if (last < 0) return expression;
    const unit = { begin: first, end: last, kind: 'statement' };
    // A loop's or an if's whole body is not repeated for a change of its head.
    const isLong = last - first > 80 && expression !== undefined;
    const hasDirective = source.tokens.slice(first, last).some((token) => token.kind === 'directive');
    return isLong || hasDirective || !isWhole(changed(unit), []) ? expression : unit;
  }
}

/** Where a mutant's unit is in `text`, what it becomes, or undefined: {begin, end, kind, changed}. */
export function unitOf(text, changedText) {
  const source = new Source(text);
  const change = findChange(source.tokens, readTokens(changedText));
  const unit = findUnit(source, change);
  if (unit === undefined) return undefined;
  const { tokens } = source;
  const words = (from, to) => tokens.slice(from, to).map((token) => token.text);
  const texts = [...words(unit.begin, change.begin), ...change.put, ...words(change.end, unit.end)];
  const changed = texts.join(' ').replace(/> >(?: (?==))?/g, '>>'); // a shift is two tokens
  return { begin: tokens[unit.begin].begin, end: tokens[unit.end - 1].end, kind: unit.kind, changed };
}

/** `text` with all `mutants` {number, unit} behind their conditions; those whose units overlap another's are returned. */
export function putBehindConditions(text, mutants) {
  const left = [];
  const units = [];
  const ordered = [...mutants].sort((a, b) => a.unit.begin - b.unit.begin || b.unit.end - a.unit.end);
  const open = [];
  for (const mutant of ordered) {
    const { begin, end, kind } = mutant.unit;
    while (open.length > 0 && open.at(-1).end <= begin) open.pop();
    const around = open.at(-1);
    if (around && end > around.end) {
      left.push(mutant);
      continue;
    }
    if (around && around.begin === begin && around.end === end && around.kind === kind) {
      around.mutants.push(mutant);
      continue;
    }
    const unit = { begin, end, kind, mutants: [mutant], inner: [] };
    (around ? around.inner : units).push(unit);
    open.push(unit);
  }
  const render = (begin, end, inner) => {
    let out = '';
    let at = begin;
    for (const unit of inner) {
      out += text.slice(at, unit.begin) + renderUnit(unit);
      at = unit.end;
    }
    return out + text.slice(at, end);
  };
  const renderUnit = ({ begin, end, kind, mutants: own, inner }) => {
    const original = render(begin, end, inner);
    if (kind === 'expression') {
      const ways = own.map(({ number, unit }) => `duo_mutant(${number}) ? (${unit.changed}) : `).join('');
      return `(${ways}(${original}))`;
    }
    const ways = own.map(({ number, unit }) => `if (duo_mutant(${number})) { ${unit.changed} } else `).join('');
    return `{ ${ways}{ ${original} } }`;
  };
  return { text: render(0, text.length, units), left };
}
