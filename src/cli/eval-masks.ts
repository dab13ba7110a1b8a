// The masks of `duo eval`: the given one, its baselines, other mask files, and gates cut at several fractions.
import { basename } from 'node:path';
import { buildMask } from '../../export/build-mask.ts';
import { parseCount } from '../config/flags.ts';
import type { HeadMask, Window } from '../core/shapes.ts';
import { ConfigError } from '../errors/errors.ts';
import { listBaselines, type NamedMask } from '../eval/baselines.ts';
import { findWindow, readGates } from '../formats/gates.ts';
import { checkMaskFits, type MaskFile, readMask, scoresOfMask, toHeadMask, windowOfMask } from '../formats/mask.ts';
import type { ModelFolder } from '../model/folder.ts';
import { readWindowFlags } from './cut-flags.ts';
import { readIntegerFlag } from './numbers.ts';

export interface MaskFlags {
  readonly mask?: string;
  readonly otherMask?: readonly string[];
  readonly gates?: readonly string[];
  readonly fractions?: string;
  readonly sink?: string;
  readonly recent?: string;
  readonly baselines: string;
  readonly randomMasks: string;
  readonly seed: string;
  readonly allowOtherModel?: boolean;
}

/** Masks in the order of their rows: full, given, baselines, other files, then each fraction's cuts and baselines.
 * A cut is named `method@fraction`, and so are the baselines made from it; those of --mask have plain names.
 * @throws {ConfigError} a flag out of range, or one that needs another; {FormatError}; {ModelError} a mask of another model. */
export function listEvalMasks(flags: MaskFlags, folder: ModelFolder): NamedMask[] {
  const { shape } = folder.config;
  const names = flags.baselines.split(',').map((name) => name.trim());
  const randomMasks = readIntegerFlag('--random-masks', { text: flags.randomMasks, least: 1 });
  const seed = readIntegerFlag('--seed', { text: flags.seed, least: 0 });
  const shared = { model: shape, randomMasks, seed };
  const cuts = listCuts(flags, folder);
  const file = flags.mask === undefined ? null : readFittingMask(flags.mask, { flags, folder });
  const given = file === null ? null : toHeadMask(file);
  const plain =
    given === null && cuts.length > 0 ? names.filter((name) => name === 'full' || name === 'streaming') : names;
  const window = file === null ? cuts[0]?.window : windowOfMask(file);
  const baselines = listBaselines({
    ...shared,
    names: plain,
    given,
    ...(file === null ? {} : { gates: scoresOfMask(file) }),
    ...(window === undefined ? {} : { window }),
  });
  const full = baselines.filter(({ name }) => name === 'full');
  const others = baselines.filter(({ name }) => name !== 'full');
  const fromCuts = cuts.flatMap(({ name, mask, window, fraction, gates, isFirst }): NamedMask[] => {
    const own = isFirst ? names.filter((baseline) => baseline !== 'full' && baseline !== 'streaming') : [];
    const made = listBaselines({ ...shared, names: own, given: mask, window, gates });
    return [{ name, mask }, ...made.map((one) => ({ ...one, name: `${one.name}@${fraction}` }))];
  });
  return [
    ...full,
    ...(given === null ? [] : [{ name: 'given', mask: given }]),
    ...others,
    ...(flags.otherMask ?? []).map((path) => ({
      name: basename(path).replace(/\.json$/, ''),
      mask: toHeadMask(readFittingMask(path, { flags, folder })),
    })),
    ...fromCuts,
  ];
}

interface NamedCut {
  readonly name: string;
  readonly fraction: string;
  readonly mask: HeadMask;
  readonly window: Window;
  readonly gates: number[][];
  /** the fraction's baselines are made from the first gates file */
  readonly isFirst: boolean;
}

function listCuts(flags: MaskFlags, folder: ModelFolder): NamedCut[] {
  const paths = flags.gates ?? [];
  if (paths.length > 0 !== (flags.fractions !== undefined)) {
    throw new ConfigError('Expected --gates and --fractions together, got one without the other.');
  }
  const fractions = (flags.fractions ?? '').split(',').filter((text) => text.trim() !== '');
  const used = new Map<string, number>();
  return paths.flatMap((path, index) => {
    const gates = readGates(path);
    const { layers, kvHeads } = folder.config.shape;
    if (gates.model.layers !== layers || gates.model.kvHeads !== kvHeads) {
      throw new ConfigError(
        `Expected gates of ${layers} layers × ${kvHeads} KV heads, got \`${gates.model.layers} × ${gates.model.kvHeads}\` in ${path}.`,
      );
    }
    const method = typeof gates.provenance.method === 'string' ? gates.provenance.method : 'gates';
    const times = (used.get(method) ?? 0) + 1;
    used.set(method, times);
    const name = times === 1 ? method : `${method}-${times}`;
    const window = readWindowFlags(flags, findWindow(gates));
    return fractions.map((text): NamedCut => {
      const streamingFraction = parseCount(text);
      if (streamingFraction === null || streamingFraction < 0 || streamingFraction > 1) {
        throw new ConfigError(`Expected --fractions to be numbers from 0 to 1, got \`${text}\`.`);
      }
      const fraction = String(streamingFraction);
      const { file } = buildMask({ gates, cut: { streamingFraction }, window });
      return {
        name: `${name}@${fraction}`,
        fraction,
        mask: toHeadMask(file),
        window,
        gates: scoresOfMask(file),
        isFirst: index === 0,
      };
    });
  });
}

function readFittingMask(path: string, options: { flags: MaskFlags; folder: ModelFolder }): MaskFile {
  const { flags, folder } = options;
  const file = readMask(path);
  const { fingerprint, olderFingerprint } = folder;
  const model = { shape: folder.config.shape, fingerprint, olderFingerprint };
  checkMaskFits(file, model, { path, allowOther: flags.allowOtherModel === true });
  return file;
}
