import { stripVTControlCharacters } from 'node:util';
import { describe, expect, test } from 'vitest';
import { drawGates, drawMask } from '../../export/picture.ts';
import { filledGrid } from '../../src/core/shapes.ts';

const ESCAPE = '\u001b';

describe('drawMask', () => {
  test('in plain text', () => {
    expect(
      drawMask(
        [
          [1, 0, 0],
          [0, 0, 1],
        ],
        { colour: false },
      ),
    ).toBe(
      [
        'layer KV heads 0–2',
        '    0 # . .',
        '    1 . . #',
        '# retrieval head (whole context)   . streaming head (sinks and recent tokens)',
      ].join('\n'),
    );
  });

  test('in two colours, each cell reset', () => {
    const [, row] = drawMask([[1, 0]], { colour: true }).split('\n');
    expect(row).toBe(`    0 ${ESCAPE}[48;5;214m  ${ESCAPE}[0m${ESCAPE}[48;5;238m  ${ESCAPE}[0m`);
  });

  test.each([
    [32, 32],
    [80, 8],
    [1, 1],
    [2, 72],
  ])('%i layers of %i heads: a line per layer, at most 80 columns, with and without colour', (layers, kvHeads) => {
    for (const colour of [false, true]) {
      const lines = stripVTControlCharacters(drawMask(filledGrid(layers, kvHeads, 1), { colour })).split('\n');
      expect(lines).toHaveLength(layers + 2);
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
    }
  });

  test('wider layers are folded', () => {
    const lines = drawMask(filledGrid(2, 100, 1), { colour: false }).split('\n');
    expect(lines.slice(1, 5).map((line) => line.length)).toEqual([80, 32, 80, 32]);
    expect(lines[2]).toMatch(/^ {6}#{26}$/);
  });
});

describe('drawMask of several windows', () => {
  const mask = {
    sinkTokens: 4,
    windows: [
      [null, 256, 512],
      [2048, 256, null],
    ],
  };

  test('in plain text: a shade per window, the whole context as ever', () => {
    expect(drawMask(mask, { colour: false })).toBe(
      [
        'layer KV heads 0–2',
        '    0 # . :',
        '    1 - . #',
        '# whole context   nearest tokens:   . 256   : 512   - 2048',
      ].join('\n'),
    );
  });

  test('in colours that lighten with the window', () => {
    const rows = drawMask(mask, { colour: true }).split('\n');
    const shades = rows.slice(1, 3).map((row) => [...row.matchAll(/48;5;(\d+)m/g)].map(([, shade]) => Number(shade)));
    expect(shades).toEqual([
      [214, 235, 244],
      [252, 235, 214],
    ]);
    expect(stripVTControlCharacters(rows.at(-1) as string)).toContain('nearest tokens:     256     512     2048');
  });

  test('a legend of many windows stays within 80 columns, each window with a letter of its own', () => {
    const windows = Array.from({ length: 32 }, (_, rung) => 1000 + rung);
    const lines = drawMask({ sinkTokens: 0, windows: [windows] }, { colour: false }).split('\n');
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
    const legend = lines.slice(2).join(' ');
    expect(new Set([...legend.matchAll(/(\S) 1\d{3}/g)].map(([, letter]) => letter)).size).toBe(32);
  });

  test('one window is drawn as labels are', () => {
    const one = { sinkTokens: 4, windows: [[null, 256]] };
    expect(drawMask(one, { colour: false })).toBe(drawMask([[1, 0]], { colour: false }));
  });
});

describe('drawGates', () => {
  test('in plain text: tenths', () => {
    expect(
      drawGates([[0, 0.05, 0.1, 0.55, 0.99, 1]], { colour: false })
        .split('\n')
        .slice(1),
    ).toEqual(['    0 0 0 1 5 9 #', 'gate: 0 to 9 = tenths, # = 1']);
  });

  test('in shades that rise with the gate', () => {
    const [, row] = drawGates([[0, 0.5, 1]], { colour: true }).split('\n');
    const shades = [...(row as string).matchAll(/48;5;(\d+)m/g)].map(([, shade]) => Number(shade));
    expect(shades).toEqual([234, 245, 255]);
  });

  test('plain text holds no escape', () => {
    expect(drawGates([[0.5]], { colour: false })).not.toContain(ESCAPE);
    expect(drawMask([[1]], { colour: false })).not.toContain(ESCAPE);
  });
});
