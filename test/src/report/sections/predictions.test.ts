// The table of answers: the cells that lose most, their worst prompts, and nothing where nothing is lost.
import { expect, it } from 'vitest';
import type { KeptPrediction } from '../../../../src/formats/predictions.ts';
import { makePredictionTable } from '../../../../src/report/sections/predictions.ts';

const line = (mask: string, task: string, index: number, score: number): KeptPrediction => ({
  mask,
  task,
  length: 1024,
  depth: null,
  index,
  promptHash: 'sha256:0',
  promptTokens: 9,
  prediction: `${mask} says ${index}`,
  answers: ['right'],
  score,
  metric: 'string-match',
  stopReason: 'length',
});

it('shows full and masked answers side by side, the worst first', () => {
  const table = makePredictionTable([
    line('full', 'a', 0, 100),
    line('full', 'a', 1, 100),
    line('full', 'b', 0, 50),
    line('given', 'a', 0, 90),
    line('given', 'a', 1, 0),
    line('given', 'b', 0, 50),
  ]);
  expect(table?.csv.split('\n')).toEqual([
    'task,tokens,mask,right,full,score,masked,score',
    'a,1024,given,right,full says 1,100,given says 1,0',
    'a,1024,given,right,full says 0,100,given says 0,90',
    '',
  ]);
});

it('is absent where no mask loses', () => {
  expect(makePredictionTable([line('full', 'a', 0, 50), line('given', 'a', 0, 60)])).toBeNull();
  expect(makePredictionTable([line('given', 'a', 0, 0)])).toBeNull();
});
