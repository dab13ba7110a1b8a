import { describe, expect, it } from 'vitest';
import { makeRandom } from '../../../src/core/random.ts';
import { StopText } from '../../../src/runtime/stop-text.ts';

function run(stops: string[], pieces: string[]): { text: string; found: string | null } {
  const filter = new StopText(stops);
  let text = '';
  for (const piece of pieces) text += filter.push(piece);
  if (filter.found === null) text += filter.finish();
  return { text, found: filter.found };
}

describe('StopText', () => {
  it('passes text through when there are no stop strings', () => {
    expect(new StopText([]).push('abc')).toBe('abc');
  });

  it('finds a stop string that spans pieces, and shows nothing of it', () => {
    expect(run(['\n\nUser:'], ['Hello', '\n', '\nUs', 'er: hi'])).toEqual({ text: 'Hello', found: '\n\nUser:' });
  });

  it('holds back only what could begin a stop string', () => {
    const filter = new StopText(['abc']);
    expect(filter.push('xab')).toBe('x');
    expect(filter.push('d')).toBe('abd');
  });

  it('takes the stop string that comes first in the text', () => {
    expect(run(['later', 'now'], ['so now and later'])).toEqual({ text: 'so ', found: 'now' });
  });

  it('gives up nothing at the end', () => {
    expect(run(['abc'], ['x', 'a', 'b'])).toEqual({ text: 'xab', found: null });
  });

  it('agrees with a search in the whole text, however it is cut', () => {
    const random = makeRandom(1, 'stop');
    for (let round = 0; round < 300; round++) {
      const whole = Array.from({ length: 12 }, () => 'ab'[random.integer(2)]).join('');
      const stops = [Array.from({ length: 1 + random.integer(4) }, () => 'ab'[random.integer(2)]).join('')];
      const pieces: string[] = [];
      for (let at = 0; at < whole.length; ) {
        const next = at + 1 + random.integer(3);
        pieces.push(whole.slice(at, next));
        at = next;
      }
      const index = whole.indexOf(stops[0] as string);
      expect(run(stops, pieces).text).toBe(index < 0 ? whole : whole.slice(0, index));
    }
  });
});
