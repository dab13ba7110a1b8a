// The masks of `duo eval`: the given one, its baselines, other mask files, and gates cut at several budgets (eval-cuts.ts).
import { basename, dirname, resolve } from 'node:path';
import { listBaselines, type NamedMask } from '../eval/baselines.ts';
import { checkMaskFits, type MaskFile, readMask, scoresOfMask, toHeadMask, windowOfMask } from '../formats/mask.ts';
import { findRunFile } from '../formats/run-file.ts';
import type { ModelFolder } from '../model/folder.ts';
import { type CutListFlags, listCuts } from './eval-cuts.ts';
import { readIntegerFlag } from './numbers.ts';

export interface MaskFlags extends CutListFlags {
  readonly mask?: string;
  readonly otherMask?: readonly string[];
  readonly baselines: string;
  readonly randomMasks: string;
  readonly seed: string;
  readonly allowOtherModel?: boolean;
}

/** Masks in the order of their rows: full, given, baselines, other files, then each budget's cuts and baselines.
 * A cut is named `method@fraction` or `method-windows@share`, the baselines made from it `random-0@…`; those of --mask have plain names.
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
  const fromCuts = cuts.flatMap(({ name, mask, origin, window, budget, gates, isFirst }): NamedMask[] => {
    const own = isFirst ? names.filter((baseline) => baseline !== 'full' && baseline !== 'streaming') : [];
    const made = listBaselines({ ...shared, names: own, given: mask, window, gates });
    const { fraction, kvShare } = origin;
    const withBudget = (one: NamedMask): NamedMask => ({
      ...one,
      name: `${one.name}@${budget}`,
      ...(one.origin ? { origin: { ...one.origin, fraction, kvShare } } : {}),
    });
    return [{ name, mask, origin }, ...made.map(withBudget)];
  });
  const rows: NamedMask[] = [
    ...full,
    ...(given === null
      ? []
      : [{ name: 'given', mask: given, origin: { method: 'given', fraction: null, kvShare: null, draw: null } }]),
    ...others,
    ...(flags.otherMask ?? []).map((path) => ({
      name: nameMask(path),
      mask: toHeadMask(readFittingMask(path, { flags, folder })),
    })),
    ...fromCuts,
  ];
  return nameApart(rows);
}

/** A file by its name, a run's mask.json by the name of its folder: every run's mask has the same name. */
function nameMask(given: string): string {
  const path = resolve(findRunFile(given, 'mask.json'));
  const name = basename(path).replace(/\.json$/, '');
  return name === 'mask' ? basename(dirname(path)) || name : name;
}

/** Rows of one name get a number, so that every row has its own. */
function nameApart(rows: readonly NamedMask[]): NamedMask[] {
  const taken = new Set<string>();
  return rows.map((row) => {
    let name = row.name;
    for (let number = 2; taken.has(name); number++) name = `${row.name}-${number}`;
    taken.add(name);
    return { ...row, name };
  });
}

function readFittingMask(given: string, options: { flags: MaskFlags; folder: ModelFolder }): MaskFile {
  const { flags, folder } = options;
  const path = findRunFile(given, 'mask.json');
  const file = readMask(path);
  const { fingerprint, olderFingerprint } = folder;
  const model = { shape: folder.config.shape, fingerprint, olderFingerprint };
  checkMaskFits(file, model, { path, allowOther: flags.allowOtherModel === true });
  return file;
}
