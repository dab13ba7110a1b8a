// A copy of a model folder whose matrices are rounded as `--weights` rounds them, in float32: what an engine that computes with fewer bits is held to.
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeSafetensors } from '../../scripts/safetensors-writer.ts';
import { openModelFolder } from '../../src/model/folder.ts';
import { listExpectedTensors } from '../../src/model/tensor-names.ts';

const GROUP = 32;

/** One scale per row, 127 steps to each side. */
function roundRow(row: Float32Array): void {
  const scale = row.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127;
  for (const [index, value] of row.entries()) row[index] = scale === 0 ? 0 : Math.round(value / scale) * scale;
}

/** From each group's least value to its largest in 15 equal steps: what a better search for scale and minimum has to beat. */
function roundGroups(row: Float32Array): void {
  for (let begin = 0; begin < row.length; begin += GROUP) {
    const group = row.subarray(begin, begin + GROUP);
    const low = Math.min(...group);
    const scale = (Math.max(...group) - low) / 15;
    for (const [index, value] of group.entries())
      group[index] = scale === 0 ? low : low + Math.round((value - low) / scale) * scale;
  }
}

/** Write the copy to `to`, a folder that is made. `int4` rounds projections in groups, and embeddings and LM head by rows, as the engine does. */
export function writeRoundedFolder(from: string, to: string, format: 'int8' | 'int4'): void {
  cpSync(from, to, { recursive: true });
  const folder = openModelFolder(from);
  const tensors = listExpectedTensors(folder.config)
    .filter(({ name }) => folder.weights?.has(name))
    .map(({ name, shape }) => {
      const values = folder.weights!.readF32(name);
      if (shape.length === 2) {
        const columns = shape[1]!;
        const round = format === 'int4' && name.includes('_proj') ? roundGroups : roundRow;
        for (let at = 0; at < values.length; at += columns) round(values.subarray(at, at + columns));
      }
      return { name, dtype: 'F32' as const, shape, values };
    });
  folder.close();
  rmSync(join(to, 'model.safetensors'), { force: true });
  writeSafetensors(join(to, 'model.safetensors'), { tensors });
}
