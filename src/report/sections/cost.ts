// What the mask saves: bytes of the KV cache by context, counted, and time, as `duo bench` measured it.
import { join } from 'node:path';
import { median } from '../../core/numbers.ts';
import { formatBytes, formatSeconds, formatShare, formatTokens } from '../../core/words.ts';
import { toHeadMask } from '../../formats/mask.ts';
import { formatCommand, quote } from '../commands.ts';
import { drawDecodeSpeed } from '../figures/decode-speed.ts';
import { drawKvMemory, type KvSize } from '../figures/kv-memory.ts';
import type { RunData } from '../run-data.ts';
import { type Measures, SUMMARY_KV_DTYPE } from '../summary.ts';
import { makeTable } from '../table.ts';
import type { SectionResult } from './section.ts';

/** 4K to 1M tokens. */
const CONTEXTS = Array.from({ length: 9 }, (_, index) => 4096 * 2 ** index);

export function buildMemorySection({ mask, name }: RunData, measures: Measures): SectionResult {
  const title = 'Memory';
  if (!mask) {
    return {
      title,
      reason: 'no mask.json',
      command: `duo export --gates ${name}/gates.json --streaming-fraction 0.5 --out ${name}/mask.json`,
    };
  }
  const { model } = mask;
  const sizes: KvSize[] = CONTEXTS.map((tokens) => ({
    tokens,
    fullBytes: measures.countKvBytes({ model, mask: 'full', tokens, dtype: SUMMARY_KV_DTYPE }),
    maskedBytes: measures.countKvBytes({ model, mask: toHeadMask(mask), tokens, dtype: SUMMARY_KV_DTYPE }),
  }));
  return {
    id: 'memory',
    title,
    figures: [drawKvMemory(sizes, SUMMARY_KV_DTYPE)],
    tables: [
      makeTable({
        name: 'kv-memory',
        title: `KV cache of one text in ${SUMMARY_KV_DTYPE}`,
        rows: sizes,
        columns: [
          { label: 'context', value: (size) => size.tokens, show: (size) => formatTokens(size.tokens) },
          { label: 'full', value: (size) => size.fullBytes, show: (size) => formatBytes(size.fullBytes) },
          { label: 'mask', value: (size) => size.maskedBytes, show: (size) => formatBytes(size.maskedBytes) },
          {
            label: 'saved',
            value: (size) => 1 - size.maskedBytes / size.fullBytes,
            show: (size) => formatShare(1 - size.maskedBytes / size.fullBytes),
          },
        ],
      }),
    ],
  };
}

export function buildSpeedSection({ bench, path, model, ofAnotherMask }: RunData): SectionResult {
  const title = 'Speed';
  if (!bench || bench.contexts.length === 0) {
    return {
      title,
      reason: ofAnotherMask.includes('bench.json') ? 'bench.json was measured with another mask' : 'no bench.json',
      command: `${formatCommand(['duo', 'bench', '--model', model, '--mask', join(path, 'mask.json'), '--contexts', '2k,8k', '--json'])} > ${quote(join(path, 'bench.json'))}`,
    };
  }
  const times = bench.contexts.map(({ context, figures }) => ({
    context,
    fullMs: 1000 * median(figures.full.stepSeconds),
    maskedMs: 1000 * median(figures.masked.stepSeconds),
  }));
  const rows = bench.contexts.flatMap(({ context, figures, comparison }) => [
    { context, side: 'full', ...figures.full, decodeSpeedup: 1, prefillSpeedup: 1 },
    { context, side: 'mask', ...figures.masked, ...comparison },
  ]);
  return {
    id: 'speed',
    title,
    figures: [drawDecodeSpeed(times)],
    tables: [
      makeTable({
        name: 'speed',
        title: `${bench.model}: ${bench.engine} on ${bench.device}, KV in ${bench.kvDtype}${bench.kvRotation === true ? ' rotated' : ''}, ${bench.batch} at once`,
        rows,
        columns: [
          { label: 'context', value: (row) => row.context, show: (row) => formatTokens(row.context) },
          { label: 'heads', value: (row) => row.side },
          {
            label: 'prefill',
            value: (row) => row.prefillSeconds,
            show: (row) => formatSeconds(row.prefillSeconds ?? 0),
          },
          {
            label: 'decode step, ms',
            value: (row) => 1000 * median(row.stepSeconds),
            show: (row) => (1000 * median(row.stepSeconds)).toFixed(2),
          },
          { label: 'KV cache', value: (row) => row.kvBytes, show: (row) => formatBytes(row.kvBytes) },
          {
            label: 'decode, × full',
            value: (row) => row.decodeSpeedup,
            show: (row) => row.decodeSpeedup.toFixed(2),
          },
        ],
      }),
    ],
  };
}
