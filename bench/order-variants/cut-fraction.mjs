// Streaming heads of a gates.json at a share, as `duo export --streaming-fraction` cuts it.
import { buildMask } from '../../dist/export/build-mask.js';
import { readGates } from '../../dist/src/formats/gates.js';

/** Their indices, ascending. @param options.window of streaming heads.  @param options.fraction of all heads. */
export function cutFraction(path, { fraction, window }) {
  const { file } = buildMask({
    gates: readGates(path),
    cut: { streamingFraction: fraction },
    window,
  });
  return file.mask.flat().flatMap((value, head) => (value === 0 ? [head] : []));
}
