// Turns gates into a mask: by the share of heads that stream, ranked over the whole model, or by a threshold (docs/semantics.md, 5).
// The reference breaks ties with noise; here the lower (layer, head) streams first, and the number of such labels is reported.
import { filledGrid, type GateGrid, type MaskGrid } from '../src/core/shapes.ts';
import { ConfigError, FormatError } from '../src/errors/errors.ts';
import { rankGates } from './rank.ts';

/** How to cut: exactly one of the two. */
export type Cut = { readonly streamingFraction: number } | { readonly threshold: number };

export interface CutGates {
  /** `[layers][kvHeads]`, 1 = retrieval */
  readonly mask: MaskGrid;
  readonly streamingHeads: number;
  readonly retrievalHeads: number;
  /** heads whose gate equals the one at the border, where both labels occur among them: their labels are the tie rule's, not the data's */
  readonly tieDecided: number;
}

/** Share of heads that stream where nothing was asked: half under grouped-query attention, three quarters without it. */
export function defaultStreamingFraction(model: { heads: number; kvHeads: number }): number {
  return model.kvHeads < model.heads ? 0.5 : 0.75;
}

/** The cut that was asked for, or the default one.
 * @throws {ConfigError} both were given, or a value outside 0..1. */
export function chooseCut(options: {
  streamingFraction?: number | undefined;
  threshold?: number | undefined;
  model: { heads: number; kvHeads: number };
}): Cut {
  const { streamingFraction, threshold, model } = options;
  if (streamingFraction !== undefined && threshold !== undefined) {
    throw new ConfigError(
      `Expected one cut, got both \`streamingFraction\` \`${streamingFraction}\` and \`threshold\` \`${threshold}\`; give one of them.`,
    );
  }
  const cut =
    threshold === undefined
      ? { streamingFraction: streamingFraction ?? defaultStreamingFraction(model) }
      : { threshold };
  checkCut(cut);
  return cut;
}

/** Cut gates into a mask; the gates are not changed. Raising the fraction or the threshold never turns a streaming head back.
 * @param gates `[layers][kvHeads]`, 0..1.
 * @throws {ConfigError} a cut outside 0..1; {FormatError} ragged rows or a gate that is not finite. */
export function cutGates(gates: GateGrid, cut: Cut): CutGates {
  checkCut(cut);
  checkGates(gates);
  const ranked = rankGates(gates);
  const streamingHeads =
    'threshold' in cut
      ? ranked.filter(({ gate }) => gate < cut.threshold).length
      : Math.floor(cut.streamingFraction * ranked.length + 0.5);
  const mask = filledGrid(gates.length, gates[0]?.length ?? 0, 1);
  for (const { layer, head } of ranked.slice(0, streamingHeads)) (mask[layer] as number[])[head] = 0;
  const border = ranked[streamingHeads - 1]?.gate;
  const isTied = border !== undefined && ranked[streamingHeads]?.gate === border;
  return {
    mask,
    streamingHeads,
    retrievalHeads: ranked.length - streamingHeads,
    tieDecided: isTied ? ranked.filter(({ gate }) => gate === border).length : 0,
  };
}

function checkCut(cut: Cut): void {
  const [name, value] =
    'threshold' in cut
      ? (['threshold', cut.threshold] as const)
      : (['streamingFraction', cut.streamingFraction] as const);
  if (!(value >= 0 && value <= 1))
    throw new ConfigError(`Expected \`${name}\` to be a number from 0 to 1, got \`${value}\`.`);
}

function checkGates(gates: GateGrid): void {
  const columns = gates[0]?.length ?? 0;
  gates.forEach((row, layer) => {
    if (row.length !== columns) {
      throw new FormatError(
        `Expected \`gates[${layer}]\` to have ${columns} values as the first row, got \`${row.length}\`.`,
      );
    }
    const bad = row.findIndex((gate) => !Number.isFinite(gate));
    if (bad >= 0)
      throw new FormatError(`Expected \`gates[${layer}][${bad}]\` to be a finite number, got \`${row[bad]}\`.`);
  });
}
