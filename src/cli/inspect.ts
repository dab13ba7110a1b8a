// duo inspect: show a mask, gates, a samples file or a model folder, or compare two masks or two gates.
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { compareMasks } from '../../export/compare.ts';
import { compareGates } from '../../export/compare-gates.ts';
import { drawGates, drawMask } from '../../export/picture.ts';
import { toMaskGrid } from '../core/head-mask.ts';
import { countKvBytes, listSavings } from '../core/kv-cost.ts';
import { countRetrievalHeads } from '../core/masks.ts';
import { CLOSED_GATE, countGateStates, OPEN_GATE } from '../core/numbers.ts';
import { formatShare } from '../core/words.ts';
import { FileError, FormatError } from '../errors/errors.ts';
import { GATES_SCHEMA, readGates } from '../formats/gates.ts';
import { isGgufFile } from '../formats/gguf.ts';
import { MASK_SCHEMA, MASK_VERSION, type MaskFile, readMask, toHeadMask } from '../formats/mask.ts';
import { findRunFile } from '../formats/run-file.ts';
import { openSamples } from '../formats/samples.ts';
import { parseHubName } from '../hub/hub-name.ts';
import {
  describeBudget,
  describeRanks,
  describeTies,
  describeWindowRule,
  describeWindows,
} from '../report/mask-words.ts';
import { readRunFolder } from '../report/run-data.ts';
import { describeSummary, summariseRun } from '../report/summary.ts';
import { openModel } from './open.ts';
import { describeSavings } from './recall-table.ts';
import { isColourful, printJson, printResult } from './terminal.ts';

interface InspectFlags {
  readonly json?: boolean;
}

/** What was found, as text for a person and as JSON. */
interface Inspection {
  readonly text: string;
  readonly json: Record<string, unknown>;
}

export function defineInspectCommand(command: Command): void {
  command
    .argument('<path>', 'mask.json, gates.json, samples.jsonl, a run folder, a model folder, a GGUF file or a Hub name')
    .argument('[other]', 'a second mask.json or gates.json, or run folder, to compare with')
    .option('--json', 'print as JSON')
    .action(async (path: string, other: string | undefined, flags: InspectFlags) => {
      const found = other === undefined ? await inspect(path) : inspectPair(path, other);
      if (flags.json) printJson(found.json);
      else printResult(found.text);
    });
}

async function inspect(path: string): Promise<Inspection> {
  if (path === 'demo') return inspectModel(path);
  if (!existsSync(path)) {
    if (parseHubName(path)) return inspectModel(path);
    throw new FileError(
      `Expected a mask, gates, samples file or model folder at ${path}, found nothing there; check the path.`,
    );
  }
  if (isFolder(path)) return existsSync(join(path, 'run.json')) ? inspectRun(path) : inspectModel(path);
  if (isGgufFile(path)) return inspectModel(path);
  const schema = findSchema(path);
  if (schema === MASK_SCHEMA) return inspectMask(path);
  if (schema === GATES_SCHEMA) return inspectGates(path);
  if (schema === null) return inspectSamples(path);
  throw new FormatError(`Expected ${path} to be a mask, gates or samples, got a file of schema \`${schema}\`.`);
}

/** The numbers that the report's page shows, and the mask's picture where the run came that far. */
function inspectRun(path: string): Inspection {
  const summary = summariseRun(readRunFolder(path), { countKvBytes });
  const lines = [...describeSummary(summary)];
  if (existsSync(join(path, 'mask.json'))) {
    lines.push('', drawMask(toHeadMask(readMask(join(path, 'mask.json'))), { colour: isColourful(process.stdout) }));
  }
  return { text: lines.join('\n'), json: { kind: 'run', ...summary } };
}

const isFolder = (path: string): boolean => statSync(path).isDirectory();

/** `schema` of a JSON object; null for JSONL and anything else that is not one. */
function findSchema(path: string): string | null {
  if (path.endsWith('.jsonl')) return null;
  try {
    const value = JSON.parse(readFileSync(path, 'utf8')) as { schema?: unknown };
    return typeof value.schema === 'string' ? value.schema : null;
  } catch {
    return null;
  }
}

function inspectMask(path: string): Inspection {
  const file = readMask(path);
  const colour = isColourful(process.stdout);
  const { model } = file;
  const mask = toHeadMask(file);
  const total = model.layers * model.kvHeads;
  const retrieval = countRetrievalHeads(toMaskGrid(mask));
  const notes = [describeRanks(file), describeBudget(file), describeWindowRule(file), describeTies(file)].filter(
    (line) => line !== null,
  );
  const lines = [
    `Mask for ${model.architecture}: ${model.layers} layers × ${model.kvHeads} KV heads (${model.heads} query heads, head size ${model.headDim}).`,
    `${retrieval} of ${total} KV heads keep the whole context, ${total - retrieval} stream (${formatShare(1 - retrieval / total)}; ${describeCutOf(file)}).`,
    ...(file.version === MASK_VERSION ? [] : [describeWindows(file)]),
    ...notes,
    describeSavings(listSavings(mask)),
    `Model fingerprint: ${model.fingerprint ?? 'none (made from config.json alone)'}.`,
    '',
    drawMask(mask, { colour }),
    '',
    drawGates(file.gates, { colour }),
  ];
  return {
    text: lines.join('\n'),
    json: { kind: 'mask', ...file, retrievalHeads: retrieval, savings: listSavings(mask) },
  };
}

/** What was asked when the mask was cut, in few words. */
function describeCutOf(file: MaskFile): string {
  if (file.version !== MASK_VERSION) return `windows of ${file.ladder.join(', ')} tokens or all; sink ${file.sink}`;
  const window = `sink ${file.sink}, recent ${file.recent}`;
  if (file.threshold !== null) return `threshold ${file.threshold}; ${window}`;
  return file.streamingFraction === null ? window : `streaming fraction ${file.streamingFraction}; ${window}`;
}

function inspectGates(path: string): Inspection {
  const file = readGates(path);
  const values = file.gates.flat();
  const { open, closed, undecided } = countGateStates(values);
  const { ladder } = file;
  const text = [
    `Gates of ${file.model.architecture}: ${file.model.layers} layers × ${file.model.kvHeads} KV heads.`,
    `${open} gates at ${OPEN_GATE} or above, ${closed} at ${CLOSED_GATE} or below, ${undecided} between.`,
    ...(ladder
      ? [
          `Effects of windows of ${ladder.windows.join(', ')} tokens${ladder.rule ? ` at ${ladder.rule.namedAt} tokens, elsewhere in proportion to the length` : ''} (sink ${ladder.sink}), measured on samples of up to ${ladder.tokens} tokens.`,
        ]
      : []),
    '',
    drawGates(file.gates, { colour: isColourful(process.stdout) }),
  ].join('\n');
  // the triangle of a ladder has a million numbers; gates.json itself holds them
  const shown = ladder ? { ...file, ladder: { ...ladder, effects: undefined } } : file;
  return { text, json: { kind: 'gates', ...shown, open, closed, undecided } };
}

function inspectSamples(path: string): Inspection {
  const file = openSamples(path);
  try {
    const first = file.read(0);
    const text = [
      `${file.count} samples of ${file.shortest} to ${file.longest} tokens (${file.hash}).`,
      `The first has ${first.tokens.length} tokens and ${first.answers.length} answer ranges: ${first.answers
        .slice(0, 5)
        .map(([start, end]) => `[${start}, ${end})`)
        .join(' ')}${first.answers.length > 5 ? ' …' : ''}`,
    ].join('\n');
    const { count, shortest, longest, hash } = file;
    return { text, json: { kind: 'samples', count, shortest, longest, hash } };
  } finally {
    file.close();
  }
}

async function inspectModel(path: string): Promise<Inspection> {
  const folder = await openModel(path, { weights: 'optional', need: 'config' });
  try {
    const { shape, ropeTheta, ropeScaling, tiedEmbeddings, qkvBias, qkNorm } = folder.config;
    const text = [
      `${folder.name}: ${shape.architecture}, ${shape.layers} layers, ${shape.heads} query heads, ${shape.kvHeads} KV heads, head size ${shape.headDim}, hidden ${shape.hidden}, MLP ${shape.intermediate}, vocabulary ${shape.vocab}.`,
      `Longest sample ${shape.maxPositions} tokens; rope theta ${ropeTheta}, scaling ${ropeScaling.type}; embeddings ${tiedEmbeddings ? 'tied' : 'untied'}.`,
      `Fingerprint: ${folder.fingerprint ?? 'none (no weights in the folder)'}.`,
    ].join('\n');
    const facts = { shape, ropeTheta, ropeScaling, tiedEmbeddings, qkvBias, qkNorm };
    return { text, json: { kind: 'model', name: folder.name, ...facts, fingerprint: folder.fingerprint } };
  } finally {
    folder.close();
  }
}

/** Two masks, or two gates. @throws {FormatError} one of each, or other files. */
function inspectPair(givenA: string, givenB: string): Inspection {
  const kinds = [givenA, givenB].map((path) => (existsSync(path) && !isFolder(path) ? findSchema(path) : null));
  return kinds.includes(GATES_SCHEMA) ? inspectTwoGates(givenA, givenB) : inspectTwoMasks(givenA, givenB);
}

function inspectTwoGates(givenA: string, givenB: string): Inspection {
  const [pathA, pathB] = [findRunFile(givenA, 'gates.json'), findRunFile(givenB, 'gates.json')];
  const comparison = compareGates(readGates(pathA), readGates(pathB));
  const { spearman, meanDifference, largest, isOtherModel, cuts } = comparison;
  const [at] = largest;
  const text = [
    `Gates in ${pathA} and ${pathB}: rank correlation of what heads are cut by, 1 = same order, ${spearman === null ? 'undefined (all equal)' : spearman.toFixed(3)}.`,
    ...(isOtherModel ? ['They belong to different models of one shape.'] : []),
    at === undefined
      ? 'No gate differs.'
      : `They differ by ${meanDifference.toFixed(4)} on average; most in ${largest.map(({ layer, head, gates }) => `${layer}.${head} (${gates.map((gate) => gate.toFixed(4)).join(' → ')})`).join(', ')} (layer.head).`,
    ...cuts.map(
      ({ streamingFraction, retrievalHeads, shared }) =>
        `Cut at streaming fraction ${streamingFraction}: ${retrievalHeads} retrieval heads each, ${shared} in both.`,
    ),
  ].join('\n');
  return { text, json: { kind: 'gates-comparison', ...comparison } };
}

function inspectTwoMasks(givenA: string, givenB: string): Inspection {
  const [pathA, pathB] = [findRunFile(givenA, 'mask.json'), findRunFile(givenB, 'mask.json')];
  const comparison = compareMasks(readMask(pathA), readMask(pathB));
  const { retrievalHeads, sharedRetrieval, overlap, jaccard, spearman, differing, severalWindows, entries } =
    comparison;
  const name = (window: number | null): string => (window === null ? 'all' : String(window));
  const shown = differing
    .slice(0, 40)
    .map(
      ({ layer, head, labels, windows }) =>
        `${layer}.${head} (${(severalWindows ? windows.map(name) : labels).join(' → ')})`,
    );
  const [kvShareA, kvShareB] = entries.kvShares.map(formatShare);
  const kind = severalWindows ? 'window' : 'label';
  const text = [
    `Retrieval heads: ${retrievalHeads[0]} in ${pathA}, ${retrievalHeads[1]} in ${pathB}, ${sharedRetrieval} in both.`,
    `Shared over the larger number ${formatShare(overlap)} (overlap), over all that either has ${formatShare(jaccard)} (Jaccard); rank correlation of the gates, 1 = same order, ${spearman === null ? 'undefined (all equal)' : spearman.toFixed(3)}.`,
    `KV share at ${entries.tokens} tokens: ${kvShareA} and ${kvShareB}; both keep ${formatShare(entries.overlap)} of the larger's entries.`,
    differing.length === 0
      ? `No head has another ${kind}.`
      : `${differing.length} heads with another ${kind} (layer.head): ${shown.join(', ')}${differing.length > shown.length ? ', …' : ''}`,
  ].join('\n');
  return { text, json: { kind: 'comparison', ...comparison } };
}
