// Mutants behind conditions: each unit is a whole statement or expression, the source stays what it was without a
// number, and what the compiler has to know beforehand is left out.
import { describe, expect, it } from 'vitest';

interface Unit {
  begin: number;
  end: number;
  kind: 'expression' | 'statement';
  changed: string;
}
interface Conditions {
  unitOf(text: string, changedText: string): Unit | undefined;
  putBehindConditions(
    text: string,
    mutants: readonly { number: number; unit: Unit }[],
  ): { text: string; left: readonly { number: number }[] };
}
const module = new URL('../../../kernels/tests/mutate/conditions.mjs', import.meta.url).href;
const { unitOf, putBehindConditions } = (await import(module)) as Conditions;

const inFunction = (body: string): string =>
  `namespace duo {\n__global__ void kernel(int n, float *out) {\n${body}\n}\n}\n`;
const unitIn = (text: string, from: string, to: string): Unit | undefined => {
  expect(text).toContain(from);
  return unitOf(
    text,
    text.replace(from, () => to),
  );
};
/** The text that a mutant of a function's body puts in the place of its unit. */
const conditioned = (body: string, from: string, to: string): string | undefined => {
  const text = inFunction(body);
  const unit = unitIn(text, from, to);
  if (unit === undefined) return undefined;
  const put = putBehindConditions(text, [{ number: 7, unit }]);
  expect(put.left).toEqual([]);
  expect(put.text.split('\n').length).toBe(text.split('\n').length);
  const frame = inFunction('|').split('|') as [string, string];
  return put.text.slice(frame[0].length, put.text.length - frame[1].length);
};

describe('unitOf', () => {
  it('takes a statement, a barrier that goes away among them', () => {
    expect(conditioned('out[n] = 2 * n;', '2 * n', '3 * n')).toBe(
      '{ if (duo_mutant(7)) { out [ n ] = 3 * n ; } else { out[n] = 2 * n; } }',
    );
    expect(conditioned('__syncthreads();  // whole', '__syncthreads();', ';')).toBe(
      '{ if (duo_mutant(7)) { ; } else { __syncthreads(); } }  // whole',
    );
  });
  it('takes the value of a declaration alone', () => {
    expect(conditioned('const int a = n + 1, b = n;', 'n + 1', 'n + 2')).toBe(
      'const int a = (duo_mutant(7) ? (n + 2) : (n + 1)), b = n;',
    );
    expect(conditioned('float *const a = out + n;', 'out + n', 'out')).toBe(
      'float *const a = (duo_mutant(7) ? (out) : (out + n));',
    );
    expect(conditioned('Plan<A, B> plan(Window(n, 1), 2);', '(n, 1)', '(0, 1)')).toBe(
      'Plan<A, B> plan(Window((duo_mutant(7) ? (0) : (n)), 1), 2);',
    );
  });
  it('takes the statement behind a head, and of a head the whole or its expression', () => {
    expect(conditioned('if (n > 0) out[0] = n; else out[1] = n;', 'out[0]', 'out[2]')).toBe(
      'if (n > 0) { if (duo_mutant(7)) { out [ 2 ] = n ; } else { out[0] = n; } } else out[1] = n;',
    );
    const body = `for (int i = 0; i < n; i++) { ${'out[i] = out[i] + 1; '.repeat(9)}}`;
    expect(conditioned(body, 'i < n', 'i < n - 1')).toContain(
      'for (int i = 0; (duo_mutant(7) ? (i < n - 1) : (i < n)); i++) {',
    );
  });
  it('keeps a shift whole and finds the body of a lambda', () => {
    expect(conditioned('const auto at = [=](int i) { return i >> 2; };', '2', '3')).toBe(
      'const auto at = [=](int i) { { if (duo_mutant(7)) { return i >> 3 ; } else { return i >> 2; } } };',
    );
  });
  it('does not enter a case before its condition', () => {
    expect(conditioned('switch (n) { case 1: out[0] = n; }', 'out[0]', 'out[1]')).toBe(
      'switch (n) { case 1: { if (duo_mutant(7)) { out [ 1 ] = n ; } else { out[0] = n; } } }',
    );
  });
  it('leaves out what the compiler has to know', () => {
    expect(conditioned('constexpr int SIZE = 4;', '4', '8')).toBeUndefined();
  });
  it('leaves out a function that the compiler runs', () => {
    expect(unitIn('constexpr int twice(int n) {\n  return 2 * n;\n}\n', '2', '3')).toBeUndefined();
  });
});

describe('putBehindConditions', () => {
  it('chains mutants of one unit and nests one in another', () => {
    const text = inFunction('out[f(n)] = g([&] { return n; });');
    const whole = [1, 2].map((number) => ({ number, unit: unitIn(text, 'f(n)', `f(${number})`) as Unit }));
    const inner = { number: 3, unit: unitIn(text, 'return n', 'return 3') as Unit };
    const put = putBehindConditions(text, [inner, ...whole]);
    expect(put.left).toEqual([]);
    expect(put.text).toContain('if (duo_mutant(1)) { out [ f ( 1 ) ]');
    expect(put.text).toContain('else if (duo_mutant(2)) { out [ f ( 2 ) ]');
    expect(put.text).toContain(
      'else { out[f(n)] = g([&] { { if (duo_mutant(3)) { return 3 ; } else { return n; } } }); }',
    );
  });
  it('gives back a mutant whose unit crosses another', () => {
    const unit = { kind: 'statement', changed: ';' } as const;
    const first = { number: 1, unit: { ...unit, begin: 0, end: 6 } };
    const second = { number: 2, unit: { ...unit, begin: 3, end: 9 } };
    expect(putBehindConditions('a; b; c; d;', [first, second]).left).toEqual([second]);
  });
});
