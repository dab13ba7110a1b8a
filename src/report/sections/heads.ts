// Which heads need the whole context: heat map, histogram and course of the gates, and the loss that led there.
import { hasSeveralWindows, toMaskGrid } from '../../core/head-mask.ts';
import { formatNumber, formatSeconds } from '../../core/words.ts';
import { MASK_VERSION, toHeadMask } from '../../formats/mask.ts';
import { drawGateCourse } from '../figures/gate-course.ts';
import { drawGateHistogram } from '../figures/gate-histogram.ts';
import { drawGateMap } from '../figures/gate-map.ts';
import { MAX_MAP_CELLS } from '../figures/head-map.ts';
import { drawLossCurves } from '../figures/loss-curves.ts';
import { drawWindowMap } from '../figures/window-map.ts';
import type { RunData } from '../run-data.ts';
import { makeTable } from '../table.ts';
import type { SectionResult } from './section.ts';

export function buildHeadsSection(data: RunData): SectionResult {
  const gates = data.gates?.gates ?? data.mask?.gates;
  const title = 'Heads';
  if (!gates) {
    return {
      title,
      reason: 'no gates.json or mask.json yet',
      command: `duo identify --model <dir> --out ${data.name} --resume`,
    };
  }
  const headMask = data.mask && toHeadMask(data.mask);
  const mask = headMask && toMaskGrid(headMask);
  // windows are not cut from gates, nor are ranks: the gates' line and dots would explain nothing there
  const several = headMask && hasSeveralWindows(headMask) ? headMask : null;
  const ranks = (data.mask?.version === MASK_VERSION && data.mask.ranks) || null;
  const course = drawGateCourse(data.metrics, mask);
  const rows = gates.flatMap((row, layer) =>
    row.map((gate, head) => ({
      layer,
      head,
      gate,
      label: mask?.[layer]?.[head] ?? null,
      window: headMask?.windows[layer]?.[head] ?? null,
      rank: ranks?.[layer]?.[head] ?? null,
    })),
  );
  return {
    id: 'heads',
    title,
    figures: [
      ...(several && rows.length <= MAX_MAP_CELLS ? [drawWindowMap(several)] : []),
      ...(rows.length <= MAX_MAP_CELLS ? [drawGateMap(gates, mask)] : []),
      drawGateHistogram(gates, several || ranks ? null : mask),
      ...(course ? [course] : []),
    ],
    tables: [
      makeTable({
        name: 'gates',
        title: 'Every gate',
        isFolded: true,
        rows,
        columns: [
          { label: 'layer', value: (row) => row.layer },
          { label: 'KV head', value: (row) => row.head },
          { label: 'gate', value: (row) => row.gate, show: (row) => row.gate.toFixed(4) },
          ...(ranks ? [{ label: 'rank, 0 closes first', value: (row: (typeof rows)[number]) => row.rank }] : []),
          { label: 'head', value: (row) => (row.label === null ? null : row.label === 1 ? 'retrieval' : 'streaming') },
          ...(several ? [{ label: 'window', value: (row: (typeof rows)[number]) => row.window ?? 'all' }] : []),
        ],
      }),
    ],
  };
}

/** Method `gates` alone goes step by step. */
const STEPWISE_METHOD = 'gates';

export function buildTrainingSection({ metrics, run, gates }: RunData): SectionResult {
  const title = 'Optimisation';
  const figures = drawLossCurves(metrics, { distance: describeDistance(run) });
  if (figures.length === 0) {
    const method = run?.identity.method ?? gates?.provenance.method ?? STEPWISE_METHOD;
    const hasSteps = method === STEPWISE_METHOD;
    const reason = hasSteps ? 'no metrics.jsonl with two steps or more' : `method ${method} has no steps`;
    return { title, reason, command: null };
  }
  const seconds = metrics.reduce((sum, line) => sum + line.seconds, 0);
  const lengths = metrics.map((line) => line.length);
  const last = metrics.at(-1)!;
  const facts: readonly [string, string | number, string][] = [
    ['steps', metrics.length, String(metrics.length)],
    ['time of all steps, s', seconds, formatSeconds(seconds)],
    ['time of a step, s', seconds / metrics.length, formatSeconds(seconds / metrics.length)],
    ['shortest sample, tokens', Math.min(...lengths), String(Math.min(...lengths))],
    ['longest sample, tokens', Math.max(...lengths), String(Math.max(...lengths))],
    ['distillation loss, last step', last.distillation, formatNumber(last.distillation)],
    ['penalty, last step', last.penalty, formatNumber(last.penalty)],
    ['mean gate, last step', last.gateMean, last.gateMean.toFixed(3)],
    ['gates between 0.05 and 0.95, last step', last.undecided, `${(100 * last.undecided).toFixed(1)} %`],
  ];
  return {
    id: 'optimisation',
    title,
    figures,
    tables: [
      makeTable({
        name: 'optimisation',
        title: 'In numbers',
        rows: facts,
        columns: [
          { label: 'quantity', value: ([quantity]) => quantity },
          { label: 'value', value: ([, value]) => value, show: ([, , shown]) => shown },
        ],
      }),
    ],
  };
}

/** What the distillation loss of a run is, by its settings. */
function describeDistance(run: RunData['run']): string {
  const { distance = 'hidden', objective = 'passkey' } = run?.config ?? {};
  const hidden = 'mean squared difference of the hidden states of the gated and the full model';
  const kl = "KL divergence of the gated model's next-token distributions from the full model's";
  const isKl = distance === 'kl' || (distance === 'auto' && objective === 'long-range');
  const isMixed = distance === 'auto' && objective === 'both';
  const text = isMixed ? `${hidden}, of long-range samples ${kl}` : isKl ? kl : hidden;
  return text.replace(/^m/, 'M');
}
