// Builds what mask.json holds from gates and a cut, and says what was decided.
import type { GateGrid, Window } from '../src/core/shapes.ts';
import { ConfigError } from '../src/errors/errors.ts';
import type { GatesFile } from '../src/formats/gates.ts';
import { type BinaryMaskFile, MASK_SCHEMA, MASK_VERSION } from '../src/formats/mask.ts';
import { type Cut, type CutGates, cutGates } from './cut.ts';
import { findGatesAt, PATH_THRESHOLD, rankPath, requirePath } from './cut-path.ts';

/** Cut at a λ of the gates' path. */
export type LambdaCut = { readonly lambda: number };

export interface BuiltMask {
  readonly file: BinaryMaskFile;
  readonly cut: CutGates;
}

/** Cut gates into mask.json's content. Equal arguments give equal bytes; the gates' provenance goes with them.
 * Gates with a λ path are cut on that path. At `lambda`, heads with a gate of at least one half keep the whole context. At a fraction, heads
 * are ranked by the path's ranking, or, without one, by how long they stay open along the path; mask.json then holds both the gates of gates.json and `ranks`.
 * Where equal gates lie on both sides of the cut, its provenance says how many.
 * @throws {ConfigError} a cut out of range, a λ without a path, a threshold of quadratic gates without one; {FormatError} malformed gates. */
export function buildMask(options: { gates: GatesFile; cut: Cut | LambdaCut; window: Window }): BuiltMask {
  const { gates, cut, window } = options;
  const { grid, isRank = false, gridCut, how } = prepareCut(gates, cut);
  const result = cutGates(grid, gridCut);
  const ties = result.tieDecided === 0 ? {} : { tieDecided: result.tieDecided };
  const file: BinaryMaskFile = {
    schema: MASK_SCHEMA,
    version: MASK_VERSION,
    model: gates.model,
    sink: window.sinkTokens,
    recent: window.recentTokens,
    streamingFraction: 'threshold' in gridCut ? null : gridCut.streamingFraction,
    threshold: 'threshold' in gridCut ? gridCut.threshold : null,
    mask: result.mask,
    gates: isRank ? gates.gates : grid,
    ...(isRank && { ranks: grid }),
    provenance: { ...gates.provenance, ...how, ...ties },
  };
  return { file, cut: result };
}

/** The gates to cut, how to cut them, and what the mask's provenance adds on it. */
function prepareCut(
  gates: GatesFile,
  cut: Cut | LambdaCut,
): { grid: GateGrid; isRank?: boolean; gridCut: Cut; how: { cutLambda?: number; rankedBy?: string } } {
  if ('lambda' in cut) {
    const grid = findGatesAt(requirePath(gates), cut.lambda);
    return { grid, gridCut: { threshold: PATH_THRESHOLD }, how: { cutLambda: cut.lambda } };
  }
  if ('streamingFraction' in cut && gates.path) {
    return {
      grid: rankPath(gates.path),
      isRank: true,
      gridCut: cut,
      how: { rankedBy: gates.path.ranking ? 'elimination' : 'lambda-path' },
    };
  }
  if ('threshold' in cut && !gates.path && gates.provenance.method === 'quadratic') {
    throw new ConfigError(
      'Expected gates of method quadratic to have their λ path for a threshold, found none; identify again, or cut by streamingFraction.',
    );
  }
  return { grid: gates.gates, gridCut: cut, how: {} };
}

/** One sentence on the cut: how many heads stream, and how many labels a tie decided. */
export function describeCut({ streamingHeads, retrievalHeads, tieDecided }: CutGates): string {
  const total = streamingHeads + retrievalHeads;
  const ties =
    tieDecided === 0
      ? 'no label was decided by a tie'
      : `the labels of ${tieDecided} heads with equal gates were decided by (layer, head) order`;
  return `${streamingHeads} of ${total} KV heads stream, ${retrievalHeads} keep the whole context; ${ties}.`;
}
