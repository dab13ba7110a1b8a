import { expect, test } from 'vitest';
import { buildMask, describeCut } from '../../export/build-mask.ts';
import { checkMask, formatMask } from '../../src/formats/mask.ts';
import { makeGatesFile } from './gates-fixture.ts';

const gates = makeGatesFile([
  [1, 0.2],
  [0, 0.7],
]);
const window = { sinkTokens: 4, recentTokens: 32 };

test('a mask keeps gates, model and provenance, and says how it was cut', () => {
  const { file, cut } = buildMask({ gates, cut: { streamingFraction: 0.5 }, window });
  expect(checkMask(file, 'mask.json')).toEqual({
    schema: 'duo.head-mask',
    version: 1,
    model: gates.model,
    sink: 4,
    recent: 32,
    streamingFraction: 0.5,
    threshold: null,
    mask: [
      [1, 0],
      [0, 1],
    ],
    gates: gates.gates,
    provenance: gates.provenance,
  });
  expect(describeCut(cut)).toBe('2 of 4 KV heads stream, 2 keep the whole context; no label was decided by a tie.');
});

test('a threshold stands in place of the fraction', () => {
  const { file } = buildMask({ gates, cut: { threshold: 0.9 }, window });
  expect([file.streamingFraction, file.threshold, file.mask]).toEqual([
    null,
    0.9,
    [
      [1, 0],
      [0, 0],
    ],
  ]);
});

test('same gates, same bytes; ties are told', () => {
  const tied = makeGatesFile([
    [1, 1],
    [1, 1],
  ]);
  const build = () => buildMask({ gates: tied, cut: { streamingFraction: 0.5 }, window });
  expect(formatMask(build().file)).toBe(formatMask(build().file));
  expect(build().file.provenance.tieDecided).toBe(4);
  expect(describeCut(build().cut)).toMatch(
    /the labels of 4 heads with equal gates were decided by \(layer, head\) order\.$/,
  );
});
