// Scores that no duo command computes: those of a published file, and random ones. Both become gates.json, as what duo identify writes.
import { readFileSync } from 'node:fs';
import { makeRandom } from '../../dist/src/core/random.js';
import { GATES_SCHEMA, GATES_VERSION, tagModel, writeGates } from '../../dist/src/formats/gates.js';

/** kvpress's head scores (JSON: `source`, `scores` [layers][kvHeads], larger = needs the context more) as gates.
 * @throws {Error} another shape than the model's, or a score outside 0 to 1. */
export function writeFileScores(path, { scoresPath, folder, window }) {
  const { shape } = folder.config;
  const { source, scores } = JSON.parse(readFileSync(scoresPath, 'utf8'));
  const found = `${scores?.length} × ${scores?.[0]?.length}`;
  const expected = `${shape.layers} × ${shape.kvHeads}`;
  if (found !== expected) throw new Error(`Expected scores of ${expected} KV heads in ${scoresPath}, got ${found}.`);
  writeScores(path, { gates: scores, folder, window, provenance: { method: 'kvpress', source } });
}

/** A draw of uniform scores. */
export function writeRandomScores(path, { seed, folder, window }) {
  const { layers, kvHeads } = folder.config.shape;
  const random = makeRandom(seed, 'compare-masks', 'random scores');
  const gates = Array.from({ length: layers }, () => Array.from({ length: kvHeads }, () => random.uniform()));
  writeScores(path, { gates, folder, window, provenance: { method: 'random', seed } });
}

function writeScores(path, { gates, folder, window, provenance }) {
  writeGates(path, {
    schema: GATES_SCHEMA,
    version: GATES_VERSION,
    model: tagModel(folder.config.shape, folder.fingerprint),
    gates,
    provenance: { ...provenance, sink: window.sink, recent: window.recent },
  });
}
