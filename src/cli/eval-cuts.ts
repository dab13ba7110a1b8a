// Gates cut at several budgets for `duo eval`: by the share of heads that stream, and by the share of a full KV cache, with windows by head.

import { buildMask } from '../../export/build-mask.ts';
import { requireLadder } from '../../export/build-windows-mask.ts';
import { cutWindows } from '../../export/cut-windows.ts';
import { resolveLadder } from '../../export/resolve-ladder.ts';
import { parseCount } from '../config/flags.ts';
import type { HeadMask, Window } from '../core/shapes.ts';
import { ConfigError } from '../errors/errors.ts';
import { findWindow, type GatesFile, readGates } from '../formats/gates.ts';
import { scoresOfMask, toHeadMask } from '../formats/mask.ts';
import type { MaskOrigin } from '../formats/row-origin.ts';
import { findRunFile } from '../formats/run-file.ts';
import type { ModelFolder } from '../model/folder.ts';
import { readWindowFlags } from './cut-flags.ts';
import { readIntegerFlag } from './numbers.ts';

export interface CutListFlags {
  readonly gates?: readonly string[];
  readonly fractions?: string;
  readonly kvShares?: string;
  readonly at?: string;
  readonly sink?: string;
  readonly recent?: string;
}

export interface NamedCut {
  /** row of the cut: `method@0.5`, `method-windows@0.24` */
  readonly name: string;
  /** what follows the @ in the names of the baselines made from it: `0.5`, `kv-0.24` */
  readonly budget: string;
  readonly mask: HeadMask;
  readonly origin: MaskOrigin;
  readonly window: Window;
  readonly gates: number[][];
  /** the budget's baselines are made from the first gates file */
  readonly isFirst: boolean;
}

/** The cuts of all gates files, each at every fraction, then at every KV share.
 * @throws {ConfigError} flags that need each other, a value out of range, gates of another shape or without a ladder; {BudgetError}. */
export function listCuts(flags: CutListFlags, folder: ModelFolder): NamedCut[] {
  const paths = flags.gates ?? [];
  const asked = flags.fractions !== undefined || flags.kvShares !== undefined;
  if (paths.length > 0 !== asked) {
    throw new ConfigError('Expected --gates and --fractions or --kv-shares together, got one without the other.');
  }
  if (flags.at !== undefined && flags.kvShares === undefined) {
    throw new ConfigError('Expected --at with --kv-shares, got it alone.');
  }
  const fractions = readShares('--fractions', flags.fractions);
  const kvShares = readShares('--kv-shares', flags.kvShares);
  const atTokens = flags.at === undefined ? null : readIntegerFlag('--at', { text: flags.at, least: 1 });
  const used = new Map<string, number>();
  return paths.flatMap((given, index) => {
    const path = findRunFile(given, 'gates.json');
    const gates = readGates(path);
    checkShape(gates, { path, folder });
    const method = typeof gates.provenance.method === 'string' ? gates.provenance.method : 'gates';
    const times = (used.get(method) ?? 0) + 1;
    used.set(method, times);
    const name = times === 1 ? method : `${method}-${times}`;
    const isFirst = index === 0;
    return [
      ...fractions.map((share): NamedCut => ({ ...cutFraction(gates, { share, name, flags }), isFirst })),
      ...kvShares.map((share): NamedCut => ({ ...cutShare(gates, { share, name, atTokens }), isFirst })),
    ];
  });
}

function cutFraction(
  gates: GatesFile,
  { share, name, flags }: { share: number; name: string; flags: CutListFlags },
): Omit<NamedCut, 'isFirst'> {
  const window = readWindowFlags(flags, findWindow(gates));
  const { file } = buildMask({ gates, cut: { streamingFraction: share }, window });
  return {
    name: `${name}@${share}`,
    budget: String(share),
    mask: toHeadMask(file),
    origin: { method: name, fraction: share, kvShare: null, draw: null },
    window,
    gates: scoresOfMask(file),
  };
}

function cutShare(
  gates: GatesFile,
  { share, name, atTokens }: { share: number; name: string; atTokens: number | null },
): Omit<NamedCut, 'isFirst'> {
  const ladder = requireLadder(gates);
  const { kvHeads } = gates.model;
  const { mask } = cutWindows(ladder, { kvHeads, kvShare: share, atTokens, isBounded: false });
  const [narrowest] = resolveLadder(ladder, atTokens ?? ladder.tokens).windows;
  const window = { sinkTokens: ladder.sink, recentTokens: narrowest as number };
  const method = `${name}-windows`;
  const origin = { method, fraction: null, kvShare: share, draw: null };
  return { name: `${method}@${share}`, budget: `kv-${share}`, mask, origin, window, gates: gates.gates };
}

function readShares(flag: string, text = ''): number[] {
  const words = text.split(',').filter((word) => word.trim() !== '');
  return words.map((word) => {
    const share = parseCount(word);
    if (share === null || share < 0 || share > 1) {
      throw new ConfigError(`Expected ${flag} to be numbers from 0 to 1, got \`${word}\`.`);
    }
    return share;
  });
}

function checkShape(gates: GatesFile, { path, folder }: { path: string; folder: ModelFolder }): void {
  const { layers, kvHeads } = folder.config.shape;
  if (gates.model.layers === layers && gates.model.kvHeads === kvHeads) return;
  throw new ConfigError(
    `Expected gates of ${layers} layers × ${kvHeads} KV heads, got \`${gates.model.layers} × ${gates.model.kvHeads}\` in ${path}.`,
  );
}
