// Builds what mask.json holds from gates and a cut, and says what was decided.
import type { Window } from '../src/core/shapes.ts';
import type { GatesFile } from '../src/formats/gates.ts';
import { MASK_SCHEMA, MASK_VERSION, type MaskFile } from '../src/formats/mask.ts';
import { type Cut, type CutGates, cutGates } from './cut.ts';

export interface BuiltMask {
  readonly file: MaskFile;
  readonly cut: CutGates;
}

/** Cut gates into mask.json's content. Equal arguments give equal bytes; the gates' provenance goes with them.
 * @throws {ConfigError} a cut outside 0..1; {FormatError} malformed gates. */
export function buildMask(options: { gates: GatesFile; cut: Cut; window: Window }): BuiltMask {
  const { gates, cut, window } = options;
  const result = cutGates(gates.gates, cut);
  const file: MaskFile = {
    schema: MASK_SCHEMA,
    version: MASK_VERSION,
    model: gates.model,
    sink: window.sinkTokens,
    recent: window.recentTokens,
    streamingFraction: 'threshold' in cut ? null : cut.streamingFraction,
    threshold: 'threshold' in cut ? cut.threshold : null,
    mask: result.mask,
    gates: gates.gates,
    provenance: gates.provenance,
  };
  return { file, cut: result };
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
