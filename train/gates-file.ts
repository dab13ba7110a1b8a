// Puts scored gates together with their model and provenance into what gates.json holds.
import type { ModelShape, Window } from '../src/core/shapes.ts';
import { GATES_SCHEMA, GATES_VERSION, type GatesFile, tagModel } from '../src/formats/gates.ts';
import type { JsonRecord } from '../src/formats/read-json.ts';
import type { ScoredGates } from './methods/method.ts';

/** Build gates.json's content. Equal arguments give equal bytes.
 * @param provenance settings that change the numbers and inputs by hash, which docs/architecture.md allows. */
export function buildGates(options: {
  model: ModelShape;
  fingerprint: string | null;
  window: Window;
  method: string;
  scored: ScoredGates;
  provenance: JsonRecord;
}): GatesFile {
  const { model, fingerprint, window, method, scored, provenance } = options;
  return {
    schema: GATES_SCHEMA,
    version: GATES_VERSION,
    model: tagModel(model, fingerprint),
    gates: scored.gates,
    ...(scored.path ? { path: scored.path } : {}),
    ...(scored.ladder ? { ladder: scored.ladder } : {}),
    provenance: {
      ...provenance,
      method,
      sink: window.sinkTokens,
      recent: window.recentTokens,
      ...scored.provenance,
    },
  };
}
