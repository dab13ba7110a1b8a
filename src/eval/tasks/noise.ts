// The sentences of a noise haystack, repeated in order. Our own; they hold no number, name or answer word.
import type { Wording } from './task.ts';

export const NOISE: Readonly<Record<Wording, readonly string[]>> = {
  plain: [
    'The lake is still.',
    'The hill is steep.',
    'The path is long.',
    'We set out at dawn.',
    'We come home at dusk.',
  ],
  'small-vocabulary': [
    'The lake was quiet.',
    'The field was green.',
    'The street was long.',
    'It was a warm morning.',
    'It was a cold night.',
  ],
};
