// What an answer is hidden in: filler of any size, made of units in a fixed order, with the places where a needle may be put.
// The first n units are the same whatever n is, so a prompt can be fitted to a length by counting units.
import { ConfigError } from '../errors/errors.ts';

/** Filler of a prompt. */
export interface Filler {
  /** text between two units */
  readonly separator: string;
  /** unit `index` ≥ 0 */
  unit(index: number): string;
  /** true where a needle may be put before unit `index` (the ends are always allowed) */
  mayInsertBefore(index: number): boolean;
}

/** A needle and where it goes: depth 0 = before all filler, 1 = after all. */
export interface PlacedNeedle {
  readonly text: string;
  readonly depth: number;
}

/** Words of running text, each a unit, repeated from the start where the text ends; needles are put at ends of sentences.
 * @throws {ConfigError} a text without a word. */
export function makeProseFiller(text: string): Filler {
  const words = text.split(/\s+/).filter((word) => word !== '');
  if (words.length === 0)
    throw new ConfigError(
      'Expected a haystack with at least one word, got none; its text may be unknown to the tokenizer',
    );
  const at = (index: number): string => words[index % words.length] as string;
  return {
    separator: ' ',
    unit: at,
    mayInsertBefore: (index) => /[.!?]["'”’)\]]*$/.test(at(index - 1)),
  };
}

/** The same few sentences on every line, as RULER's noise. */
export function makeNoiseFiller(sentences: readonly string[]): Filler {
  const line = sentences.join(' ');
  return {
    separator: '\n',
    unit: () => line,
    mayInsertBefore: () => true,
  };
}

/** Lines from a generator that is asked for line 0, 1, 2, … in order, each once. */
export function makeLineFiller(makeLine: (index: number) => string, separator = '\n'): Filler {
  const lines: string[] = [];
  return {
    separator,
    unit(index) {
      while (lines.length <= index) lines.push(makeLine(lines.length));
      return lines[index] as string;
    },
    mayInsertBefore: () => true,
  };
}

/** The first `units` units with the needles in order of depth; of equally deep ones the earlier in the list comes first. */
export function fillHaystack(filler: Filler, units: number, needles: readonly PlacedNeedle[]): string {
  const inserted = new Map<number, string[]>();
  for (const needle of needles.toSorted((a, b) => a.depth - b.depth)) {
    const place = findPlace(filler, units, Math.round(needle.depth * units));
    inserted.set(place, [...(inserted.get(place) ?? []), needle.text]);
  }
  const parts: string[] = [];
  for (let index = 0; index <= units; index++) {
    parts.push(...(inserted.get(index) ?? []));
    if (index < units) parts.push(filler.unit(index));
  }
  return parts.join(filler.separator);
}

/** The allowed place nearest to `wanted`, the earlier of two equally near. */
function findPlace(filler: Filler, units: number, wanted: number): number {
  const isAllowed = (index: number): boolean => index === 0 || index === units || filler.mayInsertBefore(index);
  for (let distance = 0; distance <= units; distance++) {
    if (wanted - distance >= 0 && isAllowed(wanted - distance)) return wanted - distance;
    if (wanted + distance <= units && isAllowed(wanted + distance)) return wanted + distance;
  }
  return units;
}
