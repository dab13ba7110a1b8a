// How far masks of two runs agree: at a share of streaming heads, the heads that both put into the smaller class (streaming or
// retrieval) over the size of that class. Two random masks agree on about the share of the smaller class.
import { buildMask } from '../../dist/export/build-mask.js';
import { findWindow, readGates } from '../../dist/src/formats/gates.js';
import { toHeadMask } from '../../dist/src/formats/mask.js';

/** @param {string[]} paths gates.json of at least two runs.
 * @returns {number} mean over all pairs, 0..1. */
export function measureAgreement(paths, streamingFraction) {
  const masks = paths.map((path) => {
    const gates = readGates(path);
    const { file } = buildMask({ gates, cut: { streamingFraction }, window: findWindow(gates) });
    return toHeadMask(file)
      .windows.flat()
      .map((window) => window !== null);
  });
  const pairs = masks.flatMap((mask, index) => masks.slice(index + 1).map((other) => compareLabels(mask, other)));
  return pairs.reduce((sum, value) => sum + value, 0) / pairs.length;
}

/** @param {boolean[]} a true = streams.  @param {boolean[]} b as many streaming heads. */
export function compareLabels(a, b) {
  const streaming = a.filter(Boolean).length;
  const small = streaming <= a.length / 2;
  const size = small ? streaming : a.length - streaming;
  const shared = a.filter((streams, index) => streams === small && b[index] === small).length;
  return size === 0 ? 1 : shared / size;
}
